"""operations/avatar.py: what a request may say, how it is refused, and what it does to the graph."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import JobError
from worker.graph import graph_from, reachable
from worker.operations import load_operations
from worker.operations.avatar import OF_PICTURE, SHARES, Avatar, AvatarRequest
from worker.probe import VideoInfo
from worker.settings import Settings

GOOD = {"input_image_minio_path": "in/a.png", "driving_video_path": "in/d.mp4"}
AVATAR = Avatar()


def settings(**values):
    return Settings(_env_file=None, **values)


def parse(**changes):
    fields = {name: value for name, value in {**GOOD, **changes}.items() if value != "absent"}
    return AVATAR.parse(fields, settings())


def refused(**changes):
    with pytest.raises(JobError) as caught:
        parse(**changes)
    return caught.value


def bound(**changes):
    prompt = AVATAR.bind(parse(**changes), {"picture": "x/picture.png", "driving": "x/driving.mp4"}, {}, "x").prompt
    return {node["_meta"]["title"]: node["inputs"] for node in prompt.values()}


def test_the_contracts_defaults():
    request = parse()
    assert (request.mode, request.width, request.height, request.fps) == ("replace", 1280, 720, 24)
    assert (request.steps, request.guidance_scale, request.presign) == (6, 1.0, True)
    assert request.end_time is None


def test_the_pinned_graph_shows_the_same_defaults():
    """No default stands in two places unnoticed: the graph that people open in the editor says what a job does."""
    pinned = {node["_meta"]["title"]: node["inputs"] for node in AVATAR.graph.nodes.values()}
    default = bound(seed=0)
    different = {
        (title, name): (pinned[title][name], value)
        for title, inputs in default.items()
        for name, value in inputs.items()
        if pinned[title][name] != value
    }
    assert set(different) == {("Reference image", "image"), ("Driving video", "file"), ("Save MP4", "filename_prefix")}


BAD = [
    ({"input_image_url": "https://x/a.png"}, "conflicting_fields", "input_image_url"),
    ({"input_image_minio_path": "absent"}, "missing_field", "input_image_minio_path"),
    ({"input_image_minio_path": ""}, "invalid_value", "input_image_minio_path"),
    ({"driving_video_path": "absent"}, "missing_field", "driving_video_path"),
    ({"driving_video_url": "https://x/d.mp4"}, "conflicting_fields", "driving_video_path"),
    ({"widht": 640}, "unknown_field", "widht"),
    ({"r2": {}}, "unknown_field", "r2"),
    ({"mode": "swap"}, "invalid_value", "mode"),
    ({"width": 1000}, "invalid_value", "width"),
    ({"width": 48}, "invalid_value", "width"),
    ({"height": 1936}, "invalid_value", "height"),
    ({"height": "720"}, "invalid_value", "height"),
    ({"height": 720.5}, "invalid_value", "height"),
    ({"width": 1920, "height": 1920}, "invalid_value", "width"),
    ({"width": True}, "invalid_value", "width"),
    ({"fps": 0}, "invalid_value", "fps"),
    ({"fps": 61}, "invalid_value", "fps"),
    ({"fps": math.nan}, "invalid_value", "fps"),
    ({"fps": math.inf}, "invalid_value", "fps"),
    ({"fps": None}, "invalid_value", "fps"),
    ({"start_time": -1}, "invalid_value", "start_time"),
    ({"start_time": 3, "end_time": 2}, "invalid_range", "end_time"),
    ({"start_time": 2, "end_time": 2}, "invalid_range", "end_time"),
    ({"end_time": 0}, "invalid_value", "end_time"),
    ({"user_id": "a/b"}, "invalid_id", "user_id"),
    ({"user_id": ".."}, "invalid_id", "user_id"),
    ({"user_id": "."}, "invalid_id", "user_id"),
    ({"avatar_id": "ümlaut"}, "invalid_id", "avatar_id"),
    ({"avatar_id": ""}, "invalid_id", "avatar_id"),
    ({"avatar_id": "a\n"}, "invalid_id", "avatar_id"),
    ({"avatar_id": "x" * 65}, "invalid_id", "avatar_id"),
    ({"prompt": ""}, "invalid_value", "prompt"),
    ({"prompt": 7}, "invalid_value", "prompt"),
    ({"negative_prompt": "x" * 2001}, "invalid_value", "negative_prompt"),
    ({"steps": 0}, "invalid_value", "steps"),
    ({"guidance_scale": 0.5}, "invalid_value", "guidance_scale"),
    ({"seed": -1}, "invalid_value", "seed"),
    ({"seed": 2**63}, "invalid_value", "seed"),
    ({"presign": "yes"}, "invalid_value", "presign"),
]


@pytest.mark.parametrize(("changes", "code", "field"), BAD, ids=[f"{c}-{code}" for c, code, _ in BAD])
def test_every_bad_value_has_a_code_a_field_and_a_hint(changes, code, field):
    error = refused(**changes)
    assert (error.code, error.field) == (code, field)
    assert error.hint
    assert field in error.message
    assert "pydantic" not in error.message.lower()


def test_an_unknown_field_names_the_nearest_known_one():
    assert refused(widht=640).hint == "Did you mean `width`?"
    assert refused(input_image="a").hint == "Did you mean `input_image_url`?"
    assert refused(driving_video="a").hint.startswith("Did you mean `driving_video_")
    assert "Known fields: input_image_url" in refused(qqq=1).hint


def test_messages_say_what_was_seen_and_what_is_wanted():
    assert "`width` is 1000; a multiple of 16 is wanted" in refused(width=1000).message
    assert "`fps` is 61; the most is 60" in refused(fps=61).message
    assert "`seed` is 'x'; a whole number is wanted" in refused(seed="x").message
    assert "'replace' or 'animate' is wanted" in refused(mode="swap").message
    both = refused(input_image_url="https://x/a.png")
    assert "input_image_url" in both.message
    assert "input_image_minio_path" in both.message


def test_all_faults_are_told_at_once():
    error = refused(width=1000, colour="red", fps=99)
    assert error.code == "unknown_field"
    assert "Also: width:" in error.message
    assert "fps" in error.message


def test_the_default_driving_video_stands_in():
    fields = {"input_image_minio_path": "a.png"}
    request = AVATAR.parse(fields, settings(default_driving_video_path="d/default.mp4"))
    assert AVATAR.wanted(request)["driving"].source.value == "d/default.mp4"
    request = AVATAR.parse(fields | {"driving_video_url": "https://x/d"}, settings(default_driving_video_path="d.mp4"))
    assert AVATAR.wanted(request)["driving"].source.kind == "url"


def test_a_seed_is_drawn_and_is_another_one_each_time():
    seeds = {parse().seed for _ in range(20)}
    assert len(seeds) == 20
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert parse(seed=5).seed == 5


def test_binding_sets_what_the_request_says():
    graph = bound(
        width=640, height=368, fps=25, start_time=1, end_time=2.5, prompt="P", negative_prompt="N", steps=4,
        guidance_scale=2.0, seed=7,
    )  # fmt: skip
    assert graph["Reference image"]["image"] == "x/picture.png"
    assert graph["Driving video"]["file"] == "x/driving.mp4"
    resample = graph["Resample driving video"]
    assert [resample[k] for k in ("fps", "width", "height", "start_time", "end_time")] == [25.0, 640, 368, 1.0, 2.5]
    for title in ("Letterbox reference", "Draw pose", "Animate in windows"):
        assert (graph[title]["width"], graph[title]["height"]) == (640, 368)
    assert (graph["Prompt"]["text"], graph["Negative prompt"]["text"]) == ("P", "N")
    assert graph["Steps"]["steps"] == 4
    assert (graph["Animate in windows"]["seed"], graph["Animate in windows"]["cfg"]) == (7, 2.0)
    assert graph["Save MP4"]["filename_prefix"] == "x/avatar"


def test_animate_mode_runs_no_segmentation_and_no_relighting():
    files = {"picture": "p", "driving": "d"}
    for mode, sam2, relight in (("replace", True, 1.0), ("animate", False, 0.0)):
        result = AVATAR.bind(parse(mode=mode), files, {}, "x")
        saves = [i for i, n in result.prompt.items() if n["_meta"]["title"] == "Save MP4"]
        classes = {result.prompt[i]["class_type"] for i in reachable(result.prompt, saves)}
        assert ("CMTrackPerson" in classes, "CMLoadSAM2" in classes) == (sam2, sam2)
        assert ("Track person" in result.weights) is sam2
        assert bound(mode=mode)["Relight LoRA"]["strength_model"] == relight


@pytest.mark.parametrize("title", ["Save MP4", "Animate in windows", "Relight LoRA", "Prompt"])
def test_a_graph_without_a_node_is_refused_when_the_worker_starts(title):
    nodes = {k: {**n, "_meta": dict(n["_meta"])} for k, n in AVATAR.graph.nodes.items()}
    for node in nodes.values():
        if node["_meta"]["title"] == title:
            node["_meta"]["title"] = "Renamed"
    with pytest.raises(JobError, match="graph_invalid"):
        Avatar(graph_from(nodes)).check()
    AVATAR.check()


ID = st.text("abcXYZ019._-", min_size=1, max_size=64).filter(lambda text: text.strip("."))


@given(user=st.none() | ID, avatar=st.none() | ID)
def test_output_keys_stay_in_their_folder(user, avatar):
    request = parse(user_id=user, avatar_id=avatar)
    (key,) = AVATAR.outputs(request, "job-1")["video"].keys
    parts = key.split("/")
    assert parts == ["avatar", *[i for i in (user, avatar) if i], "job-1.mp4"]
    assert not {"", ".", ".."} & set(parts)


def test_failures_of_nodes_are_laid_at_the_right_field():
    request = parse(driving_video_path="absent", driving_video_url="https://x/d.mp4")
    assert AVATAR.field_of("no_person", "Encode reference", request) == "input_image_minio_path"
    assert AVATAR.field_of("no_person", "Detect pose", request) == "driving_video_url"
    assert AVATAR.field_of("video_unreadable", "Save MP4", request) == "driving_video_url"  # read when needed
    assert AVATAR.field_of("out_of_memory", "Detect pose", request) is None


def test_every_title_that_is_spoken_of_is_in_the_graph():
    assert OF_PICTURE | set(SHARES) <= set(AVATAR.graph.titles())


INFO = VideoInfo(1280, 720, 24.0, 164, 164 / 24, True)


def test_expected_is_the_driving_range():
    expected = AVATAR.expected(parse(), {"driving": INFO})
    assert (expected.num_frames, expected.width, expected.fps, expected.has_audio) == (164, 1280, 24.0, True)
    assert AVATAR.expected(parse(start_time=1, end_time=3), {"driving": INFO}).num_frames == 48
    assert AVATAR.expected(parse(fps=16), {"driving": INFO}).num_frames == round(164 / 24 * 16)
    assert AVATAR.expected(parse(fps=23.98), {"driving": INFO}).fps == 24000 / 1001


def test_a_range_outside_the_video_is_refused_with_its_field():
    for changes, field in (({"start_time": 9}, "start_time"), ({"end_time": 9}, "end_time")):
        with pytest.raises(JobError, match="range_outside_video") as caught:
            AVATAR.expected(parse(**changes), {"driving": INFO})
        assert caught.value.field == field


def test_the_registry_has_it():
    assert load_operations()["avatar"].name == "avatar"
    assert AvatarRequest.model_json_schema()["properties"]["mode"]["enum"] == ["replace", "animate"]
