"""What a talk is refused for, and that it is before any model is loaded; the nodes' schemas."""

import types
from fractions import Fraction

import pytest
import torch

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.talk.checks import check_features, check_people, check_windows
from custom_nodes.comfy_motion.talk.load import ATTACHMENT, kind_of
from custom_nodes.comfy_motion.talk.speakers import left_and_right, one_speaker
from tests.engine.comfy_import import import_comfyui

WIDTH, HEIGHT = 96, 64


def voices(frames: int, number: int = 1):
    return types.SimpleNamespace(num_voices=number, num_frames=frames, seconds=Fraction(frames, 25))


@pytest.mark.parametrize("total", [81, 82, 1000])
def test_voices_as_long_as_a_window_will_do(total):
    check_windows(total, 81, 9)


def test_a_voice_shorter_than_a_window_is_told_which_window_would_do():
    with pytest.raises(
        MotionError, match=r"\[voice_too_short\].*3\.20 seconds.*80 frames.*81 frames.*num_frames to 77 or"
    ):
        check_windows(80, 81, 9)
    with pytest.raises(MotionError, match=r"voice_too_short.*num_frames to 5 or"):
        check_windows(8, 9, 5)
    with pytest.raises(MotionError, match=r"voice_too_short.*at least 0\.20 seconds"):
        check_windows(4, 5, 1)
    check_windows(5, 5, 9)  # one window needs no motion frames


@pytest.mark.parametrize(
    ("num_frames", "motion", "match"),
    [(80, 9, "Use 77"), (1, 1, "Use 5"), (205, 9, "Use 201"), (81, 8, "4n"), (81, -3, "4n"), (81, 81, "to 77 or less")],
)
def test_numbers_that_make_no_windows_are_refused(num_frames, motion, match):
    with pytest.raises(MotionError, match=rf"invalid_value.*{match}"):
        check_windows(1000, num_frames, motion)


def test_the_picture_the_voices_and_the_speakers_must_belong_together():
    image, two = torch.zeros(1, HEIGHT, WIDTH, 3), left_and_right(WIDTH, HEIGHT)
    check_people(image, voices(100), one_speaker(WIDTH, HEIGHT))
    check_people(image, voices(100, 2), two)
    with pytest.raises(MotionError, match="2 voices and 1 speakers"):
        check_people(image, voices(100, 2), one_speaker(WIDTH, HEIGHT))
    with pytest.raises(MotionError, match="64x96 pixels; this one is 96x64"):
        check_people(image, voices(100), one_speaker(HEIGHT, WIDTH))
    with pytest.raises(MotionError, match=r"100x64.*multiples of 16"):
        check_people(torch.zeros(1, 64, 100, 3), voices(100), one_speaker(100, 64))
    with pytest.raises(MotionError, match="1 voices and 90 frames"):
        check_features(voices(90), voices(100))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    import comfy.sd  # noqa: F401 - first of core's parts, which import each other in this order only

    from custom_nodes.comfy_motion.nodes import talk, talk_loaders

    return types.SimpleNamespace(talk=talk, loaders=talk_loaders)


LAZY = {"model", "model_patch", "positive", "negative", "vae", "clip_vision", "voice_features"}


@pytest.mark.engine
def test_every_input_has_a_tooltip_and_what_takes_long_is_lazy(nodes):
    ids = ["CMTalk", "CMLoadMultiTalk", "CMTalkSchedule", "CMFitPicture"]
    found = nodes.talk.NODES + nodes.loaders.NODES
    assert [node.GET_SCHEMA().node_id for node in found] == ids
    for node in found:
        inputs = node.INPUT_TYPES()["required"]
        assert all(options["tooltip"] for _, options in inputs.values())
        assert {name for name, (_, options) in inputs.items() if options.get("lazy")} == (
            LAZY if node is nodes.talk.CMTalk else set()
        )


def given(**changes) -> dict:
    """What CMTalk is asked with while its lazy inputs are not there yet."""
    plain = {"image": torch.zeros(1, HEIGHT, WIDTH, 3), "voices": voices(100), "num_frames": 81, "motion_frames": 9}
    return plain | {"speakers": one_speaker(WIDTH, HEIGHT)} | dict.fromkeys(LAZY) | changes


def patch_called(name: str):
    return types.SimpleNamespace(attachments={ATTACHMENT: kind_of(name)})


@pytest.mark.engine
def test_models_are_asked_for_when_all_else_is_right_and_the_small_one_first(nodes):
    ask = nodes.talk.CMTalk.check_lazy_status
    assert ask(**given()) == ["model_patch"]
    multi, single = patch_called("infinitetalk_multi.safetensors"), patch_called("infinitetalk_single.safetensors")
    assert set(ask(**given(model_patch=multi))) == LAZY - {"model_patch"}
    assert set(ask(**given(model_patch=single, vae=1))) == LAZY - {"model_patch", "vae"}
    assert ask(**given(**dict.fromkeys(LAZY, 1) | {"model_patch": multi})) == []
    two = {"voices": voices(100, 2), "speakers": left_and_right(WIDTH, HEIGHT)}
    assert set(ask(**given(model_patch=multi, **two))) == LAZY - {"model_patch"}
    with pytest.raises(MotionError, match=r"model_file.*infinitetalk_single.*one voice"):
        ask(**given(model_patch=single, **two))


@pytest.mark.engine
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"voices": voices(80)}, "voice_too_short"),
        ({"num_frames": 80}, "invalid_value"),
        ({"voices": voices(100, 2)}, "2 voices and 1 speakers"),
        ({"image": torch.zeros(1, 64, 64, 3)}, "64x64"),
    ],
)
def test_what_is_wrong_is_said_before_any_model_is_asked_for(nodes, changes, match):
    with pytest.raises(MotionError, match=match):
        nodes.talk.CMTalk.check_lazy_status(**given(**changes))


@pytest.mark.engine
@pytest.mark.parametrize(
    ("name", "asked", "loop"),
    [
        ("multitalk.safetensors", "auto", "multitalk"),
        ("infinitetalk.safetensors", "auto", "infinitetalk"),
        ("infinitetalk.safetensors", "multitalk", "multitalk"),
        ("multitalk.safetensors", "infinitetalk", "infinitetalk"),
    ],
)
def test_the_node_plans_as_its_inputs_say(nodes, monkeypatch, name, asked, loop):
    ran = []
    monkeypatch.setattr(nodes.talk, "talk", lambda run, writer, _node: ran.append((run, writer)) or "frames")
    monkeypatch.setattr(nodes.talk.CMTalk, "hidden", types.SimpleNamespace(unique_id="1"), raising=False)
    inputs = given(model_patch=patch_called(name), voice_features=voices(100), positive=[], negative=[]) | {
        "sampler": None, "sigmas": torch.zeros(3), "seed": 5, "guidance_scale": 2.0, "audio_guidance_scale": 3.0,
        "audio_scale": 0.5, "color_match": 0.25, "loop": asked,
    }  # fmt: skip
    assert nodes.talk.CMTalk.execute(**inputs).args == ("frames",)
    ((run, writer),) = ran
    assert (run.plan.loop, run.plan.guidance.text, run.plan.guidance.audio) == (loop, 2.0, 3.0)
    assert (run.plan.audio_scale, run.plan.color_match, run.plan.seed) == (0.5, 0.25, 5)
    assert (run.plan.num_frames, run.plan.motion_frames, run.models.steps) == (81, 9, 2)
    assert (writer.width, writer.height, writer.fps) == (WIDTH, HEIGHT, 25)


@pytest.mark.engine
def test_the_small_nodes_hand_on_what_was_made(nodes):
    image, width, height = nodes.loaders.CMFitPicture.execute(torch.rand(1, 100, 200, 3), "480p").args
    assert (tuple(image.shape), width, height) == ((1, 432, 880, 3), 880, 432)
    (sigmas,) = nodes.loaders.CMTalkSchedule.execute(4, 2.0).args
    assert len(sigmas) == 5
