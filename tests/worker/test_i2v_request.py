"""operations/i2v.py: what a request may say, how it is refused, and what it does to the graphs."""

import math

import pytest

from worker.errors import JobError
from worker.graph import graph_from
from worker.operations.i2v import ENDS, I2V, LOADING, kept_name
from worker.operations.shares import shares_of

from .asking import SHA, STORE, Asked, picture, renamed

GOOD = {"image_minio_path": "in/a.png", "prompt": "She waves"}
OPERATION = I2V()
ASKED = Asked(OPERATION, GOOD)
SCENES = {"prompt": "absent", "scenes": [{"prompt": "a"}, {"prompt": "b", "num_frames": 5, "seed": 7}]}


@pytest.mark.parametrize("turbo", [False, True])
def test_the_pinned_graphs_show_the_requests_defaults(turbo):
    changed = ASKED.different_from_pinned(turbo=turbo, seed=0)
    assert changed == {
        *(("Start image", "image"), ("Prompt", "text"), ("Keep segment", "name")),
        *(("Save MP4", "filename_prefix"), ("Save last frame", "filename_prefix")),
    }


BAD = [
    ({"image_minio_path": "absent"}, "missing_field", "image_url"),
    ({"image_minio_path": ""}, "invalid_value", "image_minio_path"),
    ({"image_url": "https://x/a.png"}, "conflicting_fields", "image_url"),
    ({"image_base64": 5}, "invalid_value", "image_base64"),
    ({"prompt": "absent"}, "missing_field", "prompt"),
    ({"prompt": "  "}, "invalid_value", "prompt"),
    ({"prompt": "x" * 100_000}, "invalid_value", "prompt"),
    ({"prompt": ["a"]}, "invalid_value", "prompt"),
    ({"negative_prompt": "x" * 2001}, "invalid_value", "negative_prompt"),
    ({"num_frames": 80}, "invalid_value", "num_frames"),
    ({"num_frames": 165}, "invalid_value", "num_frames"),
    ({"num_frames": 81.0}, "invalid_value", "num_frames"),
    ({"num_frames": True}, "invalid_value", "num_frames"),
    ({"num_inference_steps": 0}, "invalid_value", "num_inference_steps"),
    ({"num_inference_steps": "40"}, "invalid_value", "num_inference_steps"),
    ({"guidance_scale": 0.5}, "invalid_value", "guidance_scale"),
    ({"guidance_scale": True}, "invalid_value", "guidance_scale"),
    ({"guidance_scale": math.nan}, "invalid_value", "guidance_scale"),
    ({"seed": -1}, "invalid_value", "seed"),
    ({"seed": 2**63}, "invalid_value", "seed"),
    ({"fps": 0}, "invalid_value", "fps"),
    ({"fps": 61}, "invalid_value", "fps"),
    ({"fps": math.inf}, "invalid_value", "fps"),
    ({"width": 840}, "invalid_value", "width"),
    ({"height": 481}, "invalid_value", "height"),
    ({"width": 1920, "height": 1920}, "invalid_value", "width"),
    ({"turbo": 1}, "invalid_value", "turbo"),
    ({"turbo": True, "num_inference_steps": 40}, "conflicting_fields", "num_inference_steps"),
    ({"turbo": True, "guidance_scale": 5.0}, "conflicting_fields", "guidance_scale"),
    ({"steps": 4}, "unknown_field", "steps"),
    ({"operation": "i2v"}, "unknown_field", "operation"),
    ({"r2": STORE["secret_access_key"]}, "invalid_value", "r2"),
    ({"scenes": [{"prompt": "a"}]}, "conflicting_fields", "prompt"),
    ({**SCENES, "num_frames": 81}, "conflicting_fields", "num_frames"),
    ({**SCENES, "scenes": []}, "invalid_value", "scenes"),
    ({**SCENES, "scenes": [{"prompt": "a"}] * 33}, "invalid_value", "scenes"),
    ({**SCENES, "scenes": {"prompt": "a"}}, "invalid_value", "scenes"),
    ({**SCENES, "scenes": ["a"]}, "invalid_value", "scenes.0"),
    ({**SCENES, "scenes": [{"prompt": "a"}, {}]}, "missing_field", "scenes.1.prompt"),
    ({**SCENES, "scenes": [{"prompt": "a"}, {"prompt": " "}]}, "invalid_value", "scenes.1.prompt"),
    ({**SCENES, "scenes": [{"prompt": "a", "promt": "b"}]}, "unknown_field", "scenes.0.promt"),
    ({**SCENES, "scenes": [{"prompt": "a", "num_frames": 80}]}, "invalid_value", "scenes.0.num_frames"),
    ({**SCENES, "scenes": [{"prompt": "a", "seed": -1}]}, "invalid_value", "scenes.0.seed"),
]


@pytest.mark.parametrize(("changes", "code", "field"), BAD)
def test_every_bad_value_has_a_code_a_field_and_a_hint(changes, code, field):
    error = ASKED.refused(**changes)
    assert (error.code, error.field) == (code, field)
    assert error.hint
    assert field.split(".")[-1] in error.message
    assert len(error.message) < 400
    assert "pydantic" not in error.message.lower()


def test_messages_say_what_was_seen_and_what_is_wanted():
    assert "`num_frames` is 80; 4n+1 is wanted: the nearest are 77 and 81." in ASKED.refused(num_frames=80).message
    assert (
        "`width` is 840; a multiple of 16 is wanted: the nearest are 832 and 848." in ASKED.refused(width=840).message
    )
    assert "at most 2000 characters" in ASKED.refused(prompt="word " * 20_000).message
    assert "always means 4" in ASKED.refused(turbo=True, num_inference_steps=8).message
    assert ASKED.refused(**SCENES | {"scenes": [{"prompt": "a", "promt": 1}]}).hint == "Did you mean `prompt`?"


def test_whole_numbers_do_for_floats():
    request = ASKED.parse(guidance_scale=5, fps=16)
    assert (request.guidance_scale, request.fps) == (5.0, 16.0)
    assert isinstance(ASKED.bound(guidance_scale=5)["High-noise guider"]["cfg"], float)


def test_turbo_means_four_steps_without_guidance():
    for more in ({}, {"num_inference_steps": 4, "guidance_scale": 1}):
        request = ASKED.parse(turbo=True, **more)
        assert (request.num_inference_steps, request.guidance_scale) == (4, 1.0)
        assert "High-noise LoRA" in OPERATION.graph_of(request).titles()
    assert "High-noise LoRA" not in OPERATION.graph_of(ASKED.parse(turbo=False)).titles()


def test_binding_sets_what_the_request_says():
    graph = ASKED.bound(
        width=640, height=368, fps=23.976, prompt="P", negative_prompt="N", num_inference_steps=8, guidance_scale=2.5,
        seed=2**63 - 1, num_frames=33,
    )  # fmt: skip
    assert graph["Start image"]["image"] == "x/image.png"
    assert (graph["Prompt"]["text"], graph["Negative prompt"]["text"]) == ("P", "N")
    size = graph["Image to video"]
    assert (size["width"], size["height"], size["length"], size["batch_size"]) == (640, 368, 33, 1)
    assert graph["Steps"]["steps"] == 8
    assert graph["Split at boundary"]["boundary"] == 0.9
    assert graph["Noise"]["noise_seed"] == 2**63 - 1
    assert graph["High-noise guider"]["cfg"] == graph["Low-noise guider"]["cfg"] == 2.5
    assert graph["Decode video"]["fps"] == 24000 / 1001
    assert graph["Save MP4"]["filename_prefix"] == "x/i2v"
    assert graph["Save last frame"]["filename_prefix"] == "x/last_frame"


def test_what_the_mp4_must_be():
    expected = OPERATION.expected(ASKED.parse(fps=23.98), {"image": picture()})
    assert (expected.width, expected.height, expected.num_frames, expected.has_audio) == (832, 480, 81, False)
    assert expected.fps == 24000 / 1001
    assert OPERATION.expected(ASKED.parse(**SCENES), {"image": picture()}).num_frames == 81 + 5 - 1


def test_seeds_of_scenes():
    scenes = [{"prompt": "a"}, {"prompt": "b", "seed": 7}, {"prompt": "c"}]
    seeds = [scene.seed for scene in ASKED.parse(prompt="absent", scenes=scenes, seed=2**63 - 2).segments]
    assert seeds == [2**63 - 2, 7, 0]


def share(titles, shares):
    return sum(shares[title] for title in titles) / sum(shares.values())


@pytest.mark.parametrize("changes", [{}, {"turbo": True, "num_frames": 81}, SCENES])
def test_sampling_is_most_of_the_time(changes):
    request = ASKED.parse(**changes)
    shares = OPERATION.shares(request)
    bound = OPERATION.bind(request, {"image": "i"}, {"image": picture()}, "x")
    assert shares == bound.weights
    assert set(shares) == {node["_meta"]["title"] for node in bound.prompt.values()}
    assert all(value > 0 for value in shares.values())
    sampling = [title for title in shares if title.startswith(("High-noise steps", "Low-noise steps"))]
    assert share(sampling, shares) > (0.3 if changes.get("turbo") else 0.85)


def test_a_scenes_share_goes_with_its_frames():
    shares = OPERATION.shares(ASKED.parse(**SCENES))
    assert shares["High-noise steps"] / shares["High-noise steps (scene 2)"] == pytest.approx(81 / 5)


def test_every_title_that_is_spoken_of_is_in_the_graph():
    for graph in OPERATION.graphs.values():
        assert set(LOADING) | set(ENDS) <= set(graph.titles())
        assert set(shares_of(graph.nodes, ENDS, {})) == set(graph.titles()), "every node runs"


@pytest.mark.parametrize("graph", ["i2v", "i2v_turbo"])
@pytest.mark.parametrize(
    "title", ["Start image", "Prompt", "Negative prompt", "Image to video", "Steps", "Noise", "Low-noise guider",
              "Low-noise steps", "Decode video", "Keep segment", "Save MP4", "Save last frame"],
)  # fmt: skip
def test_a_graph_that_was_edited_is_refused_when_the_worker_starts(graph, title):
    with pytest.raises(JobError, match="graph_invalid"):
        I2V({**OPERATION.graphs, graph: graph_from(renamed(OPERATION, graph, title))}).check()
    OPERATION.check()


SAME_VIDEO = [
    {"r2": STORE},
    {"image_minio_path": "absent", "image_url": "https://x/a.png"},
    {"image_minio_path": "absent", "image_base64": "QUJD"},
    {"prompt": "absent", "scenes": [{"prompt": "She waves"}]},
    {"prompt": "absent", "scenes": [{"prompt": "She waves", "seed": 5}], "seed": 6},
]
OTHER_VIDEO = [
    *({"prompt": "He waves"}, {"negative_prompt": "N"}, {"num_frames": 77}, {"num_inference_steps": 39}),
    *({"guidance_scale": 4.0}, {"seed": 6}, {"fps": 24}, {"width": 816}, {"height": 496}, {"turbo": True}),
    {"prompt": "absent", "scenes": [{"prompt": "She waves"}] * 2},
    {"prompt": "absent", "scenes": [{"prompt": "She waves", "num_frames": 5}]},
    {"prompt": "absent", "scenes": [{"prompt": "She waves", "seed": 4}]},
]


def kept(sha256=SHA, **changes):
    request = ASKED.parse(**{"seed": 5, **changes})
    name = OPERATION.bind(request, {"image": "i"}, {"image": picture(sha256=sha256)}, "another prompt").kept
    assert name == kept_name(request, sha256)
    return name


def test_finished_scenes_are_kept_by_what_they_show():
    """Not by where the picture came from or the result goes: a job that is sent again goes on where it was."""
    assert len(kept()) == len("i2v-") + 32
    assert [changes for changes in SAME_VIDEO if kept(**changes) != kept()] == []
    others = [kept(**changes) for changes in OTHER_VIDEO] + [kept(sha256="6" * 64)]
    assert len({*others, kept()}) == len(OTHER_VIDEO) + 2
    told = {name for changes in SAME_VIDEO + OTHER_VIDEO for name in changes}
    assert told == set(OPERATION.request.model_fields), "a new field belongs into one of the two lists"


def test_failures_of_nodes_are_laid_at_the_right_field():
    request = ASKED.parse()
    assert OPERATION.field_of("not_an_image", "Start image", request) == "image_minio_path"
    assert OPERATION.field_of("out_of_memory", "High-noise steps", request) is None
