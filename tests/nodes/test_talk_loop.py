"""What each window is given and what becomes of it, with a VAE and a CLIP that can be read: both loops, all ends."""

import types
from fractions import Fraction

import pytest
import torch

from custom_nodes.comfy_motion.talk import loop as looping
from custom_nodes.comfy_motion.talk.conditioning import known_video
from custom_nodes.comfy_motion.talk.loop import Models, Plan, Talk, talk
from custom_nodes.comfy_motion.video.segments import SegmentWriter
from tests.engine.comfy_import import import_comfyui

pytestmark = pytest.mark.engine

LENGTH, MOTION = 13, 5
HEIGHT, WIDTH = 32, 48
PICTURE = 200 / 255


class Vae:
    """Each latent is the red of its first frame; window w decodes to frames of 20 w, 20 w + 1, ... of 255."""

    def __init__(self, drift: float = 0.0):
        self.encoded, self.decoded, self.drift = [], [], drift

    def encode(self, video):
        self.encoded.append(video.clone())
        packed = video[[0, *range(1, len(video), 4)], ::8, ::8, 0]
        return packed[None, None].repeat(1, 16, 1, 1, 1)

    def decode(self, latents):
        self.decoded.append(latents.clone())
        frames = 4 * latents.shape[2] - 3
        values = torch.arange(frames) + 20.0 * (len(self.decoded) - 1)
        if len(self.decoded) > 1:
            values[:MOTION] = torch.arange(LENGTH - MOTION, LENGTH) + 20.0 * (len(self.decoded) - 2)
            values += self.drift
        return (values / 255).view(1, -1, 1, 1, 1).expand(1, frames, HEIGHT, WIDTH, 3).clone()


class Clip:
    image_size = 224

    def encode_image(self, image, crop):
        assert (tuple(image.shape), crop) == ((1, 224, 224, 3), False)
        return round(float(image.mean()) * 255)


class Progress:
    """Stands in for WindowProgress."""

    def __init__(self, _model, num_windows, steps, _node_id):
        self.calls = [(num_windows, steps)]

    def begin(self, window):
        self.calls.append(window.index)

    def encoded(self):
        self.calls.append("encoded")

    def decoded(self):
        self.calls.append("decoded")


@pytest.fixture
def run(tmp_path_factory, tmp_path, monkeypatch):
    """run(total, **plan) -> what was made and with what; sampling and voices are only noted down."""
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    seen = types.SimpleNamespace(audio=[], sampled=[], seeds=[], progress=[])

    def talking(self, window, mirrored, told):
        seen.audio.append((window.start, window.length, mirrored))
        return "model"

    def sample(self, model, told, seed, progress):
        seen.sampled.append(told)
        seen.seeds.append(seed)
        latents = torch.full_like(told.latent, 0.5)
        if told.known is not None:
            latents[:, :, : told.known.shape[2]] = told.known
        return latents

    def progress(*arguments):
        seen.progress.append(Progress(*arguments))
        return seen.progress[-1]

    monkeypatch.setattr(Talk, "_talking", talking)
    monkeypatch.setattr(Talk, "_sample", sample)
    monkeypatch.setattr(looping, "WindowProgress", progress)

    def go(total, drift=0.0, **changes):
        seen.vae = Vae(drift)
        texts = ([["yes", {"kept": 1}]], [["no", {}]])
        models = Models("model", "patch", *texts, seen.vae, Clip(), "euler", torch.linspace(1, 0, 5))
        plan = Plan(**{"num_frames": LENGTH, "motion_frames": MOTION} | changes)
        features = types.SimpleNamespace(num_frames=total)
        picture = torch.full((2, HEIGHT, WIDTH, 4), PICTURE)
        writer = SegmentWriter(WIDTH, HEIGHT, Fraction(25), tmp_path)
        seen.frames = talk(Talk(models, picture, features, None, plan), writer, "7")
        seen.values = seen.frames.read(0, total)[:, 0, 0, 0].tolist()
        return seen

    return go


def latent_values(latents):
    return [round(float(value) * 255) for value in latents[0, 0, :, 0, 0]]


def mask_values(told):
    return told.positive[0][1]["concat_mask"][0, 0, :, 0, 0].tolist()


def test_a_sound_of_one_window(run):
    seen = run(LENGTH)
    assert seen.audio == [(0, LENGTH, False)]
    assert seen.values == list(range(LENGTH))
    assert seen.frames.fps == 25


def test_one_frame_more_takes_a_second_window_past_the_end(run):
    seen = run(LENGTH + 1)
    assert seen.audio == [(0, LENGTH, False), (LENGTH - MOTION, LENGTH, True)]
    assert seen.values == [*range(LENGTH), 20 + MOTION]
    assert seen.seeds == [42, 43]


@pytest.mark.parametrize("total", [60, 61, 62, 63, 77])
def test_a_long_sound_has_every_frame_once(run, total):
    seen = run(total, seed=2**64 - 2)
    step = LENGTH - MOTION
    assert seen.audio == [(start, LENGTH, start + LENGTH >= total) for start in range(0, total - MOTION, step)]
    expected = list(range(LENGTH))
    for window in range(1, len(seen.audio)):
        expected += [20 * window + frame for frame in range(MOTION, LENGTH)]
    assert seen.values == expected[:total]
    assert seen.frames.num_frames == total
    assert seen.seeds[:3] == [2**64 - 2, 2**64 - 1, 0]
    assert len(seen.frames.paths) == len(seen.audio)  # each window went to disk by itself


def test_multitalk_knows_the_frames_it_goes_on_from(run):
    seen = run(22, loop="multitalk")
    first, second, third = seen.sampled
    tail = list(range(LENGTH - MOTION, LENGTH))
    assert first.known is None
    assert mask_values(first) == [0, 1, 1, 1]
    assert latent_values(first.positive[0][1]["concat_latent_image"]) == [200, 128, 128, 128]
    assert first.positive[0][1]["clip_vision_output"] == 200
    assert latent_values(second.known) == [tail[0], tail[1]]
    assert mask_values(second) == [0, 0, 1, 1]
    assert latent_values(second.positive[0][1]["concat_latent_image"]) == [tail[0], tail[1], 128, 128]
    assert second.positive[0][1]["clip_vision_output"] == tail[-1]
    assert latent_values(third.known) == [28, 29]
    assert third.positive[0][1]["clip_vision_output"] == 32
    assert latent_values(seen.vae.decoded[1])[:2] == [8, 9]  # clean at the end


def test_infinitetalk_knows_the_picture_alone(run):
    seen = run(22, loop="infinitetalk")
    assert [latent_values(told.known) for told in seen.sampled] == [[200], [8, 9], [28, 29]]
    for told in seen.sampled:
        assert mask_values(told) == [0, 1, 1, 1]
        assert latent_values(told.positive[0][1]["concat_latent_image"]) == [200, 128, 128, 128]
        assert told.positive[0][1]["clip_vision_output"] == 200
    lengths = [len(video) for video in seen.vae.encoded]
    assert lengths == [LENGTH, MOTION, MOTION]  # the picture's window once, and then the frames gone on from


@pytest.mark.parametrize("loop", ["multitalk", "infinitetalk"])
def test_both_texts_are_told_the_same_and_keep_their_own(run, loop):
    told = run(LENGTH + 1, loop=loop).sampled[1]
    (text, positive), (negative_text, negative) = told.positive[0], told.negative[0]
    assert (text, negative_text, positive.pop("kept")) == ("yes", "no", 1)
    assert positive.keys() == negative.keys()
    assert all(positive[name] is negative[name] for name in positive)
    assert torch.count_nonzero(told.latent) == 0
    assert tuple(told.latent.shape) == (1, 16, 4, HEIGHT // 8, WIDTH // 8)


def test_the_colours_are_matched_where_both_windows_show_the_same(run):
    assert run(LENGTH + 1, drift=10.0, color_match=0.0).values[-1] == 20 + MOTION + 10
    assert run(LENGTH + 1, drift=10.0).values[-1] == 20 + MOTION
    assert run(LENGTH + 1, drift=10.0, color_match=0.5).values[-1] == 20 + MOTION + 5


def test_frames_are_handed_on_after_colour_matching_and_not_rounded(run):
    seen = run(22, drift=0.25, loop="multitalk", color_match=0.0)
    assert torch.allclose(seen.vae.encoded[2][:MOTION, 0, 0, 0] * 255, torch.arange(28, 33) + 0.25, atol=1e-4)
    seen = run(22, drift=0.25, loop="multitalk")
    assert torch.allclose(seen.vae.encoded[2][:MOTION, 0, 0, 0] * 255, torch.arange(28.0, 33.0), atol=1e-4)


def test_each_window_reports_its_stages(run):
    (progress,) = run(LENGTH + 1).progress
    assert progress.calls == [(2, 4), 0, "encoded", "decoded", 1, "encoded", "decoded"]


def test_an_interrupt_comes_through_between_windows(run, monkeypatch):
    import_comfyui(None)
    from comfy import model_management

    calls = []

    def interrupt():
        calls.append(1)
        if len(calls) == 2:
            raise model_management.InterruptProcessingException

    monkeypatch.setattr(model_management, "throw_exception_if_processing_interrupted", interrupt)
    with pytest.raises(model_management.InterruptProcessingException):
        run(30)
    assert len(calls) == 2


def test_what_is_not_known_is_grey():
    known = torch.rand(5, 4, 4, 3)
    video = known_video(known, 9)
    assert torch.equal(video[:5], known)
    assert torch.equal(video[5:], torch.full((4, 4, 4, 3), 0.5))
