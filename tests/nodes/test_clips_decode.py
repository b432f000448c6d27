"""How many frames are decoded together, what happens when they do not fit, and core's VAE as the reference."""

import types
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.clips.decode import decode, first_chunk, halving
from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.video.frames import to_uint8
from tests.engine.comfy_import import import_comfyui

FPS = Fraction(6)


@given(st.integers(1, 200), st.integers(0, 200))
def test_chunks_fit_and_are_nearly_equal(frames, fits):
    chunk = first_chunk(frames, 0, fits)
    sizes = [min(chunk, frames - start) for start in range(0, frames, chunk)]
    assert max(sizes) <= max(1, fits)
    assert len(sizes) == -(-frames // max(1, fits))  # no more of them than there have to be
    assert min(sizes) >= chunk - len(sizes) + 1
    assert first_chunk(25, 0, fits) == 25 or fits < 25


def test_a_chunk_that_is_asked_for_is_used():
    assert [first_chunk(25, asked, 3) for asked in (1, 8, 25, 30)] == [1, 8, 25, 25]


class Full(Exception):
    pass


def run_halving(frames: int, chunk: int, fits: int) -> tuple[list[int], list[int], list[int]]:
    """What was tried, what went to the last resort, and the frames that came out."""
    tried, resorted = [], []

    def decode_some(latents):
        tried.append(len(latents))
        if len(latents) > fits:
            raise Full
        return latents

    def last_resort(latents):
        resorted.append(int(latents[0]))
        return latents

    pieces = halving(decode_some, torch.arange(frames), chunk, lambda error: isinstance(error, Full), last_resort)
    return tried, resorted, torch.cat(list(pieces)).tolist()


def test_a_full_memory_halves_the_chunk():
    assert run_halving(25, 25, 25) == ([25], [], list(range(25)))
    assert run_halving(25, 25, 7)[::2] == ([25, 13, 7, 7, 7, 4], list(range(25)))
    tried, resorted, out = run_halving(3, 3, 0)
    assert (tried, resorted, out) == ([3, 2, 1, 1, 1], [0, 1, 2], [0, 1, 2])


def test_another_error_is_not_taken_for_a_full_memory():
    def fail(latents):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(halving(fail, torch.arange(3), 3, lambda error: isinstance(error, Full), lambda latents: latents))


class Temporal(torch.nn.Module):
    """[n, 4, h, w] to [n, 3, 8h, 8w], every frame mixed with its neighbours, zeros beyond the ends."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.space = torch.nn.ConvTranspose2d(4, 3, 8, stride=8)
        self.time = torch.nn.Conv3d(3, 3, (3, 1, 1), padding=(1, 0, 0))
        self.calls: list[int] = []
        self.fits = 1000

    def decode(self, latents):
        self.calls.append(len(latents))
        if len(latents) > self.fits:
            raise torch.cuda.OutOfMemoryError("no room")
        return self.time(self.space(latents).movedim(0, 1)[None])[0].movedim(1, 0)


@pytest.fixture(scope="module")
def comfy(tmp_path_factory):
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    import comfy.model_management
    import comfy.model_patcher
    import comfy.sd

    return comfy


@pytest.fixture
def vae(comfy):
    """Core's own VAE class around a small temporal decoder: what it makes of a latent is the reference."""
    cpu, model = torch.device("cpu"), Temporal()
    vae = comfy.sd.VAE.__new__(comfy.sd.VAE)
    vae.first_stage_model, vae.latent_dim, vae.disable_offload = model, 2, False
    vae.device, vae.output_device, vae.vae_dtype = cpu, cpu, torch.float32
    vae.extra_1d_channel, vae.handles_tiling, vae.upscale_ratio, vae.output_channels = None, False, 8, 3
    vae.memory_used_decode = lambda shape, dtype: 1000
    vae.process_output = lambda image: image.add_(1.0).div_(2.0).clamp_(0.0, 1.0)
    vae.patcher = comfy.model_patcher.ModelPatcher(model, cpu, cpu)
    return vae


@pytest.fixture
def latents():
    return torch.randn(25, 4, 4, 6, generator=torch.Generator().manual_seed(1))


def run(vae, latents, chunk=0):
    seen = []
    with torch.inference_mode():  # as ComfyUI runs nodes
        frames = decode(vae, {"samples": latents}, FPS, chunk, lambda done, total: seen.append((done, total)))
    return frames, seen


@pytest.mark.engine
def test_one_chunk_is_cores_result(vae, latents):
    with torch.inference_mode():
        expected = to_uint8(vae.decode(latents))
    vae.first_stage_model.calls.clear()
    frames, seen = run(vae, latents)
    assert (frames.num_frames, frames.height, frames.width, frames.fps) == (25, 32, 48, FPS)
    assert torch.equal(frames.read(0, 25), expected)
    assert vae.first_stage_model.calls == [25]
    assert seen == [(0, 25), (25, 25)]


@pytest.mark.engine
def test_chunks_are_those_asked_for_and_a_chunk_is_a_video_of_its_own(vae, latents):
    frames, seen = run(vae, latents, chunk=8)
    assert vae.first_stage_model.calls == [8, 8, 8, 1]
    assert [done for done, _ in seen] == [0, 8, 16, 24, 25]
    with torch.inference_mode():
        alone = torch.cat([to_uint8(vae.decode(part)) for part in latents.split(8)])
        together = to_uint8(vae.decode(latents))
    assert torch.equal(frames.read(0, 25), alone)
    differ = (alone != together).flatten(1).any(1).nonzero().flatten().tolist()
    assert differ == [7, 8, 15, 16, 23, 24]  # next to the edges, as far as this decoder sees


@pytest.mark.engine
def test_what_fits_is_decoded_together(comfy, vae, latents, monkeypatch):
    asked = []
    load = comfy.model_management.load_models_gpu
    monkeypatch.setattr(
        comfy.model_management,
        "load_models_gpu",
        lambda models, memory_required, **more: [asked.append(memory_required), load(models, memory_required, **more)],
    )
    monkeypatch.setattr(vae.patcher, "get_free_memory", lambda device: 9_999, raising=False)
    run(vae, latents)
    assert asked == [25_000]  # room for all is made, at the cost of models that are not needed now
    assert vae.first_stage_model.calls == [9, 9, 7]


@pytest.mark.engine
def test_out_of_memory_ends_with_cores_own_tiles(vae, latents, caplog):
    vae.first_stage_model.fits = 6
    frames, _ = run(vae, latents)
    assert vae.first_stage_model.calls == [25, 13, 7, 4, 4, 4, 4, 4, 4, 1]
    assert "trying 13" in caplog.text
    vae.first_stage_model.fits, vae.decode = 0, lambda latents: torch.full((len(latents), 32, 48, 3), 0.5)
    frames, _ = run(vae, latents[:2])
    assert (frames.read(0, 2) == 128).all()


@pytest.mark.engine
def test_a_latent_that_does_not_fit_the_vae_fails_at_once(vae):
    with pytest.raises(RuntimeError, match="channels"):
        run(vae, torch.zeros(5, 9, 4, 6))
    assert vae.first_stage_model.calls == [5]


@pytest.mark.engine
def test_an_interrupt_between_chunks_stops(vae, latents):
    def stop(done, total):
        if done == 16:
            raise KeyboardInterrupt

    with torch.inference_mode(), pytest.raises(KeyboardInterrupt):
        decode(vae, {"samples": latents}, FPS, 8, stop)
    assert vae.first_stage_model.calls == [8, 8]


def video_vae(images):
    return types.SimpleNamespace(latent_dim=3, decode=lambda latents: images)


def test_a_video_vae_decodes_the_whole():
    images = torch.rand(1, 37, 8, 12, 3)
    frames, seen = run(video_vae(images), torch.zeros(1, 16, 10, 1, 1), chunk=3)
    assert torch.equal(frames.read(0, 37), to_uint8(images[0]))
    assert [done for done, _ in seen] == [0, 16, 32, 37]
    batch = torch.rand(2, 5, 8, 12, 4)
    frames, _ = run(video_vae(batch), torch.zeros(2, 16, 2, 1, 1))
    assert torch.equal(frames.read(0, 10), to_uint8(batch.reshape(10, 8, 12, 4)))


def test_a_latent_of_no_pictures_is_refused():
    with pytest.raises(MotionError, match=r"invalid_value.*no pictures"):
        run(video_vae(torch.rand(1, 2, 44100)), torch.zeros(1, 8, 20))
