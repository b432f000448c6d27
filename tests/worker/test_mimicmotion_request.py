"""operations/mimicmotion.py: what a request may say, how it is refused, and what it does to the graph."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.video.chunks import plan_chunks
from worker.delivery import Delivered
from worker.errors import JobError
from worker.finished import Report
from worker.graph import graph_from
from worker.operations import Results
from worker.operations.mimicmotion import CROSSFADE, MIMICMOTION, OF_IMAGE, MimicMotion, _costs, kept_name
from worker.probe import VideoInfo

from .asking import STORE, Asked, picture, renamed

OPERATION = MimicMotion()
ASKED = Asked(OPERATION, {"image": "https://x/a.png", "video": "https://x/d.mp4"})
VIDEO = VideoInfo(1280, 720, 24.0, 240, 10.0, True, "7" * 64)
INFOS = {"image": picture(), "video": VIDEO}

# seeds/000, "Parameters", word for word; the dance is the motion video.
TABLE = """
| `num_frames` | 72 | 16-72 | Frames per chunk (MimicMotion limit). |
| `resolution` | 576 | 256-576 | Output height in pixels. Width auto-set to 16:9 ratio. |
| `steps` | 25 | 10-50 | Denoising steps. More = higher quality but slower. |
| `guidance_scale` | 2.0 | 1.0-5.0 | How closely to follow the pose. Higher = more rigid. |
| `noise_aug_strength` | 0.0 | 0.0-1.0 | Noise augmentation. 0 = cleanest output. |
| `sample_stride` | 2 | 1-4 | Frame sampling from input video. 2 = use every other frame. |
| `fps` | 15 | 7-30 | Output video framerate. |
| `seed` | 42 | any int | Random seed for reproducibility. |
| `frames_overlap` | 6 | 2-12 | Overlap between tiles for smooth transitions. |
| `start_time` | 0 | 0-duration | Start time in seconds for video range. |
| `end_time` | None | 0-duration | End time in seconds (None = full video). |
"""
ROWS = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in TABLE.strip().splitlines()]


@pytest.mark.parametrize(("name", "default", "span"), [row[:3] for row in ROWS])
def test_the_seeds_names_defaults_and_ranges(name, default, span):
    value = getattr(ASKED.parse(), name)
    assert value == (None if default == "None" else float(default))
    if span[0].isdigit() and "duration" not in span:
        least, most = map(float, span.split("-"))
        kind, step = type(value), 64 if name == "resolution" else 1
        for good in (least, most):
            assert getattr(ASKED.parse(**{name: kind(good)}), name) == good
        for bad in (least - step, most + step):
            assert ASKED.refused(**{name: kind(bad)}).field == name


def test_the_pinned_graph_shows_the_requests_defaults():
    different = {("Reference image", "image"), ("Driving video", "file"), ("Save MP4", "filename_prefix")}
    bound = ASKED.bound(INFOS)
    pinned = {node["_meta"]["title"]: node["inputs"] for node in OPERATION.graphs["mimicmotion"].nodes.values()}
    found = {(t, n) for t, inputs in bound.items() for n, value in inputs.items() if pinned[t][n] != value}
    assert found == different | {("MimicMotion", "name")}
    assert pinned["MimicMotion"]["crossfade"] == CROSSFADE


BAD = [
    ({"image": "absent"}, "missing_field", "image"),
    ({"video": "absent"}, "missing_field", "video"),
    ({"image_url": "https://x/b.png"}, "conflicting_fields", "image"),
    ({"image_minio_path": "b.png"}, "conflicting_fields", "image"),
    ({"video_url": "https://x/d.mp4"}, "conflicting_fields", "video"),
    ({"video": "in/d.mp4"}, "invalid_value", "video"),
    ({"video": "AAAAIGZ0eXBpc29t"}, "invalid_value", "video"),
    ({"image": ""}, "invalid_value", "image"),
    ({"num_frames": 72.0}, "invalid_value", "num_frames"),
    ({"resolution": 480}, "invalid_value", "resolution"),
    ({"guidance_scale": "2"}, "invalid_value", "guidance_scale"),
    ({"sample_stride": 1.5}, "invalid_value", "sample_stride"),
    ({"fps": True}, "invalid_value", "fps"),
    ({"seed": 2**63}, "invalid_value", "seed"),
    ({"start_time": -1}, "invalid_value", "start_time"),
    ({"start_time": 3, "end_time": 2}, "invalid_range", "end_time"),
    ({"start_time": 2, "end_time": 2}, "invalid_range", "end_time"),
    ({"end_time": 0}, "invalid_value", "end_time"),
    ({"auto_chunk": "no"}, "invalid_value", "auto_chunk"),
    ({"no_auto_chunk": True}, "unknown_field", "no_auto_chunk"),
    ({"prompt": "a dance"}, "unknown_field", "prompt"),
]


@pytest.mark.parametrize(("changes", "code", "field"), BAD)
def test_every_bad_value_has_a_code_a_field_and_a_hint(changes, code, field):
    error = ASKED.refused(**changes)
    assert (error.code, error.field) == (code, field)
    assert error.hint
    assert field in error.message
    assert len(error.message) < 300


def test_a_resolution_the_model_cannot_halve_is_refused_with_the_nearest():
    error = ASKED.refused(resolution=480)
    assert "the nearest are 448 and 512" in error.message
    assert error.hint == "Send 448 or 512."


@pytest.mark.parametrize(
    ("resolution", "long"), [(576, 1024), (512, 896), (448, 768), (384, 640), (320, 512), (256, 448)]
)
def test_the_video_stands_upright_at_the_published_size(resolution, long):
    expected = OPERATION.expected(ASKED.parse(resolution=resolution), INFOS)
    assert (expected.width, expected.height) == (resolution, long)


@pytest.mark.parametrize(
    ("changes", "kind", "field"),
    [
        ({}, "url", "image"),
        ({"image": "HTTP://x/a.png"}, "url", "image"),
        ({"image": "iVBORw0KGgo="}, "base64", "image"),
        ({"image": "data:image/png;base64,iVBORw0KGgo="}, "base64", "image"),
        ({"image": "absent", "image_url": "https://x/a"}, "url", "image_url"),
        ({"image": "absent", "image_minio_path": "a.png"}, "key", "image_minio_path"),
    ],
)
def test_each_form_of_the_picture_is_fetched_its_own_way(changes, kind, field):
    source = OPERATION.wanted(ASKED.parse(**changes))["image"].source
    assert (source.kind, source.field) == (kind, field)
    assert "iVBOR" not in repr(ASKED.parse(**changes))


@pytest.mark.parametrize(("field", "kind"), [("video", "url"), ("video_url", "url"), ("video_minio_path", "key")])
def test_each_form_of_the_video_is_fetched_its_own_way(field, kind):
    source = OPERATION.wanted(ASKED.parse(**{"video": "absent", field: "https://x/d.mp4"}))["video"].source
    assert (source.kind, source.field) == (kind, field)


def test_binding_sets_what_the_request_says():
    graph = ASKED.bound(
        INFOS, num_frames=48, resolution=384, steps=12, guidance_scale=3, noise_aug_strength=0.1, sample_stride=3,
        fps=24, seed=-1, frames_overlap=8, start_time=1, end_time=7.5,
    )  # fmt: skip
    assert (graph["Reference image"]["image"], graph["Driving video"]["file"]) == ("x/image.png", "x/video.png")
    sample = graph["Sample driving video"]
    assert [sample[k] for k in ("sample_stride", "start_time", "end_time", "max_frames")] == [3, 1.0, 7.5, 0]
    assert graph["Fit reference"]["resolution"] == 384
    made = graph["MimicMotion"]
    names = ("num_frames", "steps", "min_guidance", "max_guidance", "noise_aug_strength", "frames_overlap", "seed")
    assert [made[k] for k in names] == [48, 12, 3.0, 3.0, 0.1, 8, 2**64 - 1]
    assert graph["Retime"]["fps"] == 24.0
    assert graph["Save MP4"]["filename_prefix"] == "x/mimicmotion"
    assert ASKED.bound(INFOS, num_frames=48, auto_chunk=False)["Sample driving video"]["max_frames"] == 47


def test_expected_is_the_range_whatever_the_stride():
    assert OPERATION.expected(ASKED.parse(), INFOS).num_frames == 150
    assert OPERATION.expected(ASKED.parse(sample_stride=4, fps=30), INFOS).num_frames == 300
    assert OPERATION.expected(ASKED.parse(start_time=2, end_time=5), INFOS).num_frames == 45
    one = OPERATION.expected(ASKED.parse(auto_chunk=False), INFOS)
    assert one.num_frames == round(71 * 2 / 24 * 15)
    assert (one.fps, one.has_audio) == (15.0, True)


@pytest.mark.parametrize(
    ("changes", "info", "code", "field"),
    [
        ({"sample_stride": 4}, VideoInfo(64, 64, 24, 48, 2.0, False), "video_too_short", "sample_stride"),
        ({"sample_stride": 4}, VideoInfo(64, 64, 24, 3, 0.125, False), "video_too_short", "video"),
        ({"start_time": 9.5}, VIDEO, "video_too_short", "video"),
        ({"start_time": 11}, VIDEO, "range_outside_video", "start_time"),
        ({"end_time": 11}, VIDEO, "range_outside_video", "end_time"),
    ],
)
def test_what_does_not_fit_the_video_is_refused_before_comfyui_is_asked(changes, info, code, field):
    with pytest.raises(JobError) as error:
        OPERATION.expected(ASKED.parse(**changes), {**INFOS, "video": info})
    assert (error.value.code, error.value.field) == (code, field)


def answer(stored: bool, said=None, info=VIDEO, **changes) -> dict:
    request = ASKED.parse(**changes)
    (key,) = OPERATION.outputs(request, "abc123")["video"].keys
    file = Delivered(3, key, f"https://store/{key}?signed") if stored else Delivered(3, base64="Zm9v")
    results = Results({**INFOS, "video": info}, {"video": [file]}, Report(), said or {}, 45.25, 35.0)
    return {name: value for name, value in OPERATION.answer(request, results).items() if value is not None}


def test_the_answer_has_a_url_with_a_store_and_base64_without():
    stored, inline = answer(True), answer(False)
    assert stored["minio_key"] == "mimicmotion/results/abc123.mp4"
    assert stored["video_url"].startswith("https://store/mimicmotion/results/abc123.mp4")
    assert "video_base64" not in stored
    assert inline["video_base64"] == "Zm9v"
    assert not {"video_url", "minio_key", "notes"} & inline.keys()
    assert (inline["num_poses"], inline["num_chunks"]) == (120, 2)
    assert answer(True, auto_chunk=False)["num_chunks"] == 1


def test_what_was_cut_off_the_picture_is_said():
    assert answer(True, {"Fit reference": {"text": ["was cropped"]}})["notes"] == ["was cropped"]


@given(count=st.integers(16, 4000), num_frames=st.integers(16, 72))
def test_as_many_chunks_are_told_as_the_node_makes(count, num_frames):
    """The node's own plan: num_frames counts the reference, and no crossfade is longer than half a chunk."""
    info = VideoInfo(64, 64, 24.0, count, count / 24, False)
    length = num_frames - 1
    planned = plan_chunks(count, length, min(CROSSFADE, length // 2))
    assert answer(True, info=info, num_frames=num_frames, sample_stride=1)["num_chunks"] == len(planned)


def test_finished_chunks_are_found_again_by_what_the_files_hold():
    name = kept_name(ASKED.parse(), INFOS)
    elsewhere = ASKED.parse(image="absent", image_minio_path="a", video="absent", video_url="https://y/d", r2=STORE)
    assert kept_name(elsewhere, INFOS) == name
    assert ASKED.bound(INFOS)["MimicMotion"]["name"] == name
    assert OPERATION.bind(ASKED.parse(), {"image": "a", "video": "b"}, INFOS, "x").kept == name
    others = [kept_name(ASKED.parse(seed=7), INFOS), kept_name(ASKED.parse(), {**INFOS, "image": picture(sha256="8")})]
    others.append(kept_name(ASKED.parse(), {**INFOS, "video": VideoInfo(1280, 720, 24.0, 240, 10.0, True, "9")}))
    assert len({name, *others}) == 4


@pytest.mark.parametrize("title", ["Save MP4", "MimicMotion", "Retime", "Fit reference", "Sample driving video"])
def test_a_graph_without_a_node_is_refused_when_the_worker_starts(title):
    with pytest.raises(JobError, match="graph_invalid"):
        MimicMotion(graph_from(renamed(OPERATION, "mimicmotion", title))).check()
    OPERATION.check()


def test_every_title_that_is_spoken_of_is_in_the_graph():
    titles = set(OPERATION.graphs["mimicmotion"].titles())
    assert OF_IMAGE | set(_costs(ASKED.parse())) <= titles
    assert set(OPERATION.shares(ASKED.parse())) == titles, "every node runs"
    shares = OPERATION.shares(ASKED.parse(steps=10))
    assert shares[MIMICMOTION[0]] > 0.7 * sum(shares.values())


def test_failures_of_nodes_are_laid_at_the_right_field():
    request = ASKED.parse(image="absent", image_minio_path="a.png", video="absent", video_minio_path="d.mp4")
    for title in ("Detect reference pose", "Fit pose"):
        assert OPERATION.field_of("no_person", title, request) == "image_minio_path"
    assert OPERATION.field_of("no_person", "Detect pose", request) == "video_minio_path"
    assert OPERATION.field_of("video_unreadable", "Save MP4", request) == "video_minio_path"
    assert OPERATION.field_of("not_an_image", "Reference image", request) == "image_minio_path"
    assert OPERATION.field_of("model_file", "MimicMotion model", request) is None


def test_the_dance_is_hashed_because_its_chunks_are_found_by_it():
    assert OPERATION.wanted(ASKED.parse())["video"].digest
