"""operations/multitalk.py: what a request may say, how it is refused, and what it does to the graphs."""

import pytest

from worker.delivery import Delivered
from worker.errors import JobError
from worker.finished import Report
from worker.graph import graph_from
from worker.media import SoundInfo
from worker.operations import Results
from worker.operations.multitalk import ENDS, MultiTalk, _costs

from .asking import Asked, picture, renamed

OPERATION = MultiTalk()
GOOD = {"reference_image": "https://x/a.png", "audio_1": "https://x/1.wav", "prompt": "They talk."}
ASKED = Asked(OPERATION, GOOD)
TWO = {"audio_2": "https://x/2.wav"}
BOXES = [[100, 50, 900, 1000], [1000, 50, 1800, 1000]]


def sound(seconds: float, rate: int = 16000) -> SoundInfo:
    return SoundInfo(round(seconds * rate), rate, 1, seconds, -20.0)


ONE_VOICE = {"image": picture(), "audio_1": sound(10)}
TWO_VOICES = {**ONE_VOICE, "audio_2": sound(5.5, 44100)}


def test_the_pinned_graphs_show_the_requests_defaults():
    where = {("Picture", "image"), ("Voice 1", "file"), ("Prompt", "text")}
    where |= {("Save MP4", "filename_prefix"), ("Save speakers preview", "filename_prefix")}
    for turbo in (False, True):
        pinned = {
            node["_meta"]["title"]: node["inputs"]
            for node in OPERATION.graph_of(ASKED.parse(turbo=turbo)).nodes.values()
        }
        bound = ASKED.bound(TWO_VOICES, **TWO, turbo=turbo)
        found = {(t, n) for t, inputs in bound.items() for n, value in inputs.items() if pinned[t][n] != value}
        assert found <= where | {("Voice 2", "file")}


BAD = [
    ({"reference_image": "absent"}, "missing_field", "reference_image"),
    ({"audio_1": "absent"}, "missing_field", "audio_1"),
    ({"audio_1": "absent", **TWO}, "missing_field", "audio_1"),
    ({"prompt": "absent"}, "missing_field", "prompt"),
    ({"prompt": " "}, "invalid_value", "prompt"),
    ({"reference_image": ""}, "invalid_value", "reference_image"),
    ({"reference_image_url": "https://x/b.png"}, "conflicting_fields", "reference_image"),
    ({"audio_1_minio_path": "1.wav"}, "conflicting_fields", "audio_1"),
    ({**TWO, "audio_2_url": "https://x/3.wav"}, "conflicting_fields", "audio_2"),
    ({"num_frames": 4}, "invalid_value", "num_frames"),
    ({"num_frames": 202}, "invalid_value", "num_frames"),
    ({"sampling_steps": 1}, "invalid_value", "sampling_steps"),
    ({"sampling_steps": 101}, "invalid_value", "sampling_steps"),
    ({"guidance_scale": "7"}, "invalid_value", "guidance_scale"),
    ({"audio_guidance_scale": 0.5}, "invalid_value", "audio_guidance_scale"),
    ({"fps": 0}, "invalid_value", "fps"),
    ({"fps": 61}, "invalid_value", "fps"),
    ({"resolution": "1080p"}, "invalid_value", "resolution"),
    ({"audio_order": "add"}, "invalid_value", "audio_order"),
    ({"turbo": True, "sampling_steps": 20}, "conflicting_fields", "sampling_steps"),
    ({"turbo": True, "guidance_scale": 7.5}, "conflicting_fields", "guidance_scale"),
    ({"turbo": True, "audio_guidance_scale": 4}, "conflicting_fields", "audio_guidance_scale"),
    ({"audio_3": "https://x/3.wav"}, "unknown_field", "audio_3"),
]


@pytest.mark.parametrize(("changes", "code", "field"), BAD)
def test_every_bad_value_has_a_code_a_field_and_a_hint(changes, code, field):
    error = ASKED.refused(**changes)
    assert (error.code, error.field) == (code, field)
    assert error.hint
    assert field in error.message
    assert len(error.message) < 300


@pytest.mark.parametrize("stem", ["reference_image", "audio_1", "audio_2"])
@pytest.mark.parametrize(
    ("way", "value", "kind"),
    [
        ("", "http://x/a", "url"),
        ("", "HTTPS://x/a", "url"),
        ("", "UklGRg==", "base64"),
        ("", "data:audio/wav;base64,UklGRg==", "base64"),
        ("", "httpabc=", "base64"),
        ("_url", "https://x/a", "url"),
        ("_minio_path", "in/a.wav", "key"),
    ],
)
def test_each_form_of_a_file_is_fetched_its_own_way(stem, way, value, kind):
    request = ASKED.parse(**{stem: "absent", stem + way: value})
    wanted = OPERATION.wanted(request)[stem.replace("reference_", "")]
    assert (wanted.source.kind, wanted.source.field) == (kind, stem + way)
    assert wanted.kind == ("image" if stem == "reference_image" else "audio")
    assert "UklGR" not in repr(request)


@pytest.mark.parametrize(
    ("asked", "window", "motion"), [(5, 5, 1), (9, 9, 5), (12, 9, 5), (13, 13, 9), (100, 97, 9), (201, 201, 9)]
)
def test_a_window_has_4n_plus_1_frames_and_room_for_new_ones(asked, window, motion):
    request = ASKED.parse(num_frames=asked)
    assert (request.window_frames, request.motion_frames) == (window, motion)
    talk = ASKED.bound(ONE_VOICE, num_frames=asked)["Talk"]
    assert (talk["num_frames"], talk["motion_frames"]) == (window, motion)


def test_binding_sets_what_the_request_says():
    graph = ASKED.bound(
        TWO_VOICES, **TWO, negative_prompt="no", num_frames=50, seed=7, sampling_steps=30, guidance_scale=3, fps=25,
        audio_guidance_scale=2, resolution="720p", audio_order="together",
    )  # fmt: skip
    assert graph["Picture"]["image"] == "x/image.png"
    assert [graph[f"Voice {number}"]["file"] for number in (1, 2)] == ["x/audio_1.png", "x/audio_2.png"]
    assert graph["Fit picture"]["resolution"] == "720p"
    assert graph["Prepare voices"]["audio_order"] == "together"
    assert (graph["Prompt"]["text"], graph["Negative prompt"]["text"]) == ("They talk.", "no")
    assert (graph["Schedule"]["steps"], graph["Schedule"]["shift"]) == (30, 11.0)
    made = graph["Talk"]
    assert [made[k] for k in ("seed", "guidance_scale", "audio_guidance_scale", "num_frames")] == [7, 3.0, 2.0, 49]
    assert graph["Retime"]["fps"] == 25.0
    assert graph["Save MP4"]["filename_prefix"] == "x/multitalk"
    assert graph["Save speakers preview"]["filename_prefix"] == "x/speakers"


def test_turbo_has_its_own_steps_guidance_and_shift():
    for resolution in ("480p", "720p"):
        graph = ASKED.bound(ONE_VOICE, turbo=True, resolution=resolution)
        assert (graph["Schedule"]["steps"], graph["Schedule"]["shift"]) == (4, 2.0)
        assert (graph["Talk"]["guidance_scale"], graph["Talk"]["audio_guidance_scale"]) == (1.0, 2.0)
        assert "LoRA" in graph
    assert "LoRA" not in ASKED.bound(ONE_VOICE)
    assert ASKED.parse(turbo=True, sampling_steps=4, guidance_scale=1, audio_guidance_scale=2).turbo


def test_one_voice_needs_neither_the_second_nor_masks():
    graph = ASKED.bound(ONE_VOICE)
    assert not {"Voice 2", "SAM2", "Segment speakers"} & set(graph)
    assert "voice_2" not in graph["Prepare voices"]
    assert "masks" not in graph["Who speaks"]
    assert {*ENDS, "Pose models", "Draw speakers"} <= set(graph), "that somebody is there is seen even so"
    both = ASKED.bound(TWO_VOICES, **TWO)
    assert {"Voice 2"} <= set(both)
    assert not {"SAM2", "Segment speakers"} & set(both)
    assert {"SAM2", "Segment speakers"} <= set(ASKED.bound(TWO_VOICES, **TWO, speakers=BOXES))


def answer(stored: bool, infos=TWO_VOICES, **changes) -> dict:
    request = ASKED.parse(**changes)
    files = {}
    for role, output in OPERATION.outputs(request, "abc123").items():
        (key,) = output.keys
        assert output.inline == "without_store"
        files[role] = [Delivered(3, key, f"https://store/{key}?s") if stored else Delivered(3, base64="Zm9v")]
    found = OPERATION.answer(request, Results(infos, files, Report(), {}, 45.25, 35.0))
    return {name: value for name, value in found.items() if value is not None}


def test_the_answer_has_urls_with_a_store_and_base64_without():
    stored, inline = answer(True, **TWO), answer(False, **TWO, speakers=BOXES)
    assert stored["video_url"].startswith("https://store/multitalk/results/abc123.mp4")
    assert stored["speakers_preview_url"].startswith("https://store/multitalk/results/abc123_speakers.png")
    assert not {"video_base64", "speakers_preview_base64"} & stored.keys()
    assert (inline["video_base64"], inline["speakers_preview_base64"]) == ("Zm9v", "Zm9v")
    assert not {"video_url", "speakers_preview_url", "minio_key"} & inline.keys()
    assert (stored["window_frames"], stored["windows"]) == (97, 5)
    assert stored["speakers"] == [{"voice": "audio_1", "place": "left"}, {"voice": "audio_2", "place": "right"}]
    assert [one["place"] for one in inline["speakers"]] == BOXES
    assert answer(True, ONE_VOICE)["speakers"] == [{"voice": "audio_1", "place": "whole picture"}]


def test_the_time_is_steps_by_windows_by_evaluations():
    def talk(windows=1, **changes):
        return _costs(ASKED.parse(**changes), windows)["Talk"]

    both, one, none = talk(), talk(guidance_scale=1), talk(guidance_scale=1, audio_guidance_scale=1)
    assert both - one == pytest.approx(one - none)
    assert talk(windows=3) == pytest.approx(3 * both)
    assert talk(resolution="720p") > 2 * both
    weights = OPERATION.bind(ASKED.parse(), {"image": "a", "audio_1": "b"}, ONE_VOICE, "x").weights
    assert weights["Talk"] > 0.7 * sum(weights.values())
    assert set(weights) == set(OPERATION.shares(ASKED.parse())) == set(ASKED.bound(ONE_VOICE))


def test_every_title_that_is_spoken_of_is_in_a_graph():
    titles = [set(graph.titles()) for graph in OPERATION.graphs.values()]
    assert set(_costs(ASKED.parse())) <= set.union(*titles)
    assert set(_costs(ASKED.parse())) - {"LoRA"} <= set.intersection(*titles)


@pytest.mark.parametrize("title", ["Talk", "Voice 2", "Who speaks", "Segment speakers", "Retime", "Fit picture"])
@pytest.mark.parametrize("name", ["multitalk", "multitalk_turbo"])
def test_a_graph_without_a_node_is_refused_when_the_worker_starts(title, name):
    with pytest.raises(JobError, match="graph_invalid"):
        MultiTalk({**OPERATION.graphs, name: graph_from(renamed(OPERATION, name, title))}).check()
    OPERATION.check()


def test_failures_of_nodes_are_laid_at_the_right_field():
    request = ASKED.parse(audio_1="absent", audio_1_minio_path="1.wav", **TWO, speakers=BOXES)
    for code, title, field in (
        ("sound_unreadable", "Voice 2", "audio_2"),
        ("no_voice", "Prepare voices", "audio_1_minio_path"),
        ("empty_mask", "Segment speakers", "speakers"),
        ("speakers_overlap", "Who speaks", "speakers"),
        ("one_person", "Who speaks", "reference_image"),
        ("no_person", "Who speaks", "reference_image"),
        ("not_an_image", "Picture", "reference_image"),
        ("model_file", "MultiTalk model", None),
        ("out_of_memory", "Talk", None),
    ):
        assert OPERATION.field_of(code, title, request) == field, code


def test_a_picture_that_is_too_long_is_refused():
    with pytest.raises(JobError) as caught:
        OPERATION.expected(ASKED.parse(), {**ONE_VOICE, "image": picture(2000, 499)})
    assert (caught.value.code, caught.value.field) == ("invalid_value", "reference_image")
    assert OPERATION.expected(ASKED.parse(fps=25), {**ONE_VOICE, "image": picture(2000, 500)}).num_frames == 250
