# ruff: noqa: F811  (pytest finds a fixture by the name of an argument)
"""The start image: core's node to the bit where asked, else the authors' rule; and their whole pipeline beside ours."""

import types

import numpy as np
import pytest
import torch
from PIL import Image

from .svd_world import FRAMES, HEIGHT, WIDTH, as_in_comfyui, condition, picture, relative_error, world  # noqa: F401

pytestmark = pytest.mark.engine

SIZES = [(160, 120), (120, 160), (121, 67), (67, 121), (1000, 301), (1024, 576), (129, 64), (64, 129)]
TARGETS = [(WIDTH, HEIGHT), (1024, 576), (576, 1024)]


def core_conditioning(world, image: torch.Tensor, level: float = 0.0) -> tuple:
    core = world.video_nodes.SVD_img2vid_Conditioning()
    return core.encode(world.clip_vision, image, world.vae, WIDTH, HEIGHT, FRAMES, 127, 6, level)[:2]


def ours(world, given: tuple, image: torch.Tensor, strength: float, seed: int = 1, **changes) -> tuple:
    return world.ours.CMAugmentStart.execute(*given, image, world.vae, WIDTH, HEIGHT, strength, seed, **changes).args


def equal(one: list, other: list) -> bool:
    """Of two conditionings: every tensor to the bit, every option."""
    [[tensor, options]], [[other_tensor, other_options]] = one, other
    options, other_options = dict(options), dict(other_options)
    latents = [given.pop("concat_latent_image") for given in (options, other_options)]
    return torch.equal(tensor, other_tensor) and torch.equal(*latents) and options == other_options


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("size", SIZES)
def test_the_crop_is_cores(world, monkeypatch, size, target):
    from comfy.utils import common_upscale

    from custom_nodes.comfy_motion.svd.framing import centre_crop, framed

    width, height = size
    image = picture(width, height)
    assert torch.equal(
        framed(image, *target, antialias=False),
        common_upscale(image.movedim(-1, 1), *target, "bilinear", "center").movedim(1, -1),
    )
    where = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))[None].float()
    monkeypatch.setattr(torch.nn.functional, "interpolate", lambda part, **_: part)
    part = common_upscale(where, *target, "bilinear", "center")
    left, top = int(part[0, 1, 0, 0]), int(part[0, 0, 0, 0])
    assert centre_crop(size, target) == (left, top, part.shape[-1], part.shape[-2])


def test_strength_0_is_cores_node_to_the_bit(world):
    image = picture()
    given = core_conditioning(world, image)
    made = ours(world, given, image, 0.0, antialias=False)
    assert equal(made[0], given[0])
    assert equal(made[1], given[1])
    for changes in ({"strength": 0.02, "antialias": False}, {"strength": 0.0, "antialias": True}):
        assert not equal(ours(world, given, image, **changes)[0], given[0])
    whole = ours(world, given, image, 0.0, antialias=False, clip_vision=world.clip_vision)[0]
    assert not torch.equal(whole[0][0], given[0][0][0])


def test_the_noise_is_seeded_and_half_of_cores(world):
    """Told by the latents' change, which a small noise changes in proportion; core's node is measured beside it."""
    image = picture()
    given = core_conditioning(world, image)
    clean = given[0][0][1]["concat_latent_image"]

    def latents(strength: float, seed: int) -> torch.Tensor:
        [[_, options]] = ours(world, given, image, strength, seed, antialias=False)[0]
        assert options["augmentation_level"] == strength
        return options["concat_latent_image"]

    assert torch.equal(latents(0.02, 3), latents(0.02, 3))
    assert not torch.equal(latents(0.02, 3), latents(0.02, 4))
    negative = ours(world, given, image, 0.02)[1][0][1]
    assert negative["augmentation_level"] == 0.02
    assert negative["concat_latent_image"].eq(0).all()
    torch.manual_seed(0)
    core = [core_conditioning(world, image, 0.02)[0][0][1]["concat_latent_image"] for _ in range(2)]
    assert not torch.equal(*core)  # no seed of its own
    ratio = ((core[0] - clean).std() / (latents(0.02, 3) - clean).std()).item()
    print(f"\ncore's noise is {ratio:.2f} times the authors'")
    assert 1.7 < ratio < 2.3


def test_another_stream_than_the_samplers(world):
    from custom_nodes.comfy_motion.svd.augment import start_noise

    sampler = torch.randn(4096, generator=torch.Generator().manual_seed(7))
    assert not torch.isin(start_noise(WIDTH, HEIGHT, 7).movedim(-1, 1).flatten()[:4096], sampler).any()
    start_noise(8, 8, 0xFFFFFFFFFFFFFFFF)


def test_clip_sees_the_whole_frame_as_the_authors_clip_does(world, monkeypatch):
    """Pixels before the encoder: ours against diffusers' own resizing, and core's middle square for scale."""
    from comfy import clip_model
    from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing

    y, x = torch.meshgrid(torch.linspace(0, 1, 576), torch.linspace(0, 1, 1024), indexing="ij")
    image = torch.stack([x, y, torch.sin(20 * x * y) / 2 + 0.5], -1)[None]
    seen = []
    real = clip_model.clip_preprocess
    monkeypatch.setattr(clip_model, "clip_preprocess", lambda *a, **k: seen.append(real(*a, **k)) or seen[-1])
    no_vae = types.SimpleNamespace(encode=lambda pixels: pixels)
    given = core_conditioning(world, image)
    world.ours.CMAugmentStart.execute(*given, image, no_vae, 1024, 576, 0.5, 1, clip_vision=world.clip_vision)
    core, own = seen
    mean = torch.tensor(world.clip_vision.image_mean)[:, None, None]
    std = torch.tensor(world.clip_vision.image_std)[:, None, None]
    authors = (_resize_with_antialiasing(image.movedim(-1, 1) * 2 - 1, (224, 224)) / 2 + 0.5 - mean) / std
    errors = [(pixels - authors).abs().mean().item() for pixels in (own, core)]
    print("\nmean difference of what CLIP sees from the authors': ours {:.3f}, core {:.3f}".format(*errors))
    assert errors[0] < 0.03
    assert errors[1] > 0.2


def test_antialiasing_is_close_to_what_the_authors_pipeline_makes_of_a_photograph(world):
    """A picture six times as large: diffusers resizes with Lanczos; core reads every sixth pixel."""
    from custom_nodes.comfy_motion.svd.framing import framed

    image = picture(6 * WIDTH, 6 * HEIGHT)
    pil = Image.fromarray((image[0] * 255).round().byte().numpy())
    expected = torch.from_numpy(np.array(pil.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))) / 255
    errors = [(framed(image, WIDTH, HEIGHT, how)[0] - expected).abs().mean().item() for how in (True, False)]
    assert errors[0] < 0.01
    assert errors[1] > 0.1


def authors_pipeline(world):
    """StableVideoDiffusionPipeline as published, with the tiny weights; CLIP's pixels are prepared beforehand."""
    from diffusers import EulerDiscreteScheduler, StableVideoDiffusionPipeline
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from demo import tiny_svd_shapes as sizes

    clip = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=sizes.CLIP_WIDTH, intermediate_size=sizes.CLIP_FFN, num_hidden_layers=sizes.CLIP_LAYERS,
            num_attention_heads=16, patch_size=14, projection_dim=sizes.CONTEXT, hidden_act="gelu",
        )
    )  # fmt: skip
    weights = {name: value.clone() for name, value in world.clip_vision.model.state_dict().items()}
    missing, unexpected = clip.load_state_dict(weights, strict=False)
    assert (unexpected, [name for name in missing if "position_ids" not in name]) == ([], [])
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        sigma_min=0.002, sigma_max=700.0, use_karras_sigmas=True, timestep_spacing="leading", steps_offset=1,
        timestep_type="continuous",
    )  # fmt: skip
    pipeline = StableVideoDiffusionPipeline(world.reference_vae, clip.eval(), world.unet, scheduler, None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_the_whole_graph_is_the_authors_pipeline(world, monkeypatch):
    """Both begin with the same picture and the same two noises; everything between is each one's own."""
    from comfy.clip_model import clip_preprocess
    from diffusers.pipelines.stable_video_diffusion import pipeline_stable_video_diffusion as module

    from custom_nodes.comfy_motion.svd.augment import start_noise
    from custom_nodes.comfy_motion.svd.framing import framed

    steps, seed = 4, 21
    pixels, pipeline = framed(picture(), WIDTH, HEIGHT, antialias=True), authors_pipeline(world)
    pipeline.feature_extractor = lambda **_: types.SimpleNamespace(pixel_values=clip_preprocess(pixels, crop=False))
    monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: start_noise(WIDTH, HEIGHT, seed).movedim(-1, 1))
    latents = torch.randn((FRAMES, 4, HEIGHT // 8, WIDTH // 8), generator=torch.Generator().manual_seed(seed))
    expected = pipeline(
        pixels.movedim(-1, 1), HEIGHT, WIDTH, FRAMES, steps, min_guidance_scale=1.0, max_guidance_scale=2.5, fps=6,
        motion_bucket_id=90, noise_aug_strength=0.3, latents=latents[None].clone(), output_type="latent",
    ).frames[0]  # fmt: skip

    def graph(**changes) -> torch.Tensor:
        given = {"fps": 6, "motion_bucket_id": 90, "strength": 0.3, "seed": seed} | changes
        positive, negative, latent = condition(world, **given)
        (model,) = world.video_nodes.VideoLinearCFGGuidance().patch(world.model, 1.0)
        (made,) = world.nodes.KSampler().sample(
            model, seed, steps, 2.5, "euler", "karras", positive, negative, latent, 1.0
        )
        return made["samples"] * 0.18215

    error, fps, strength = (
        relative_error(graph(**changes), expected) for changes in ({}, {"fps": 7}, {"strength": 0.6})
    )
    print(f"\nrelative L2 to the authors' pipeline: {error:.1e}; fps 7 {fps:.1e}, noise doubled {strength:.1e}")
    assert error < 1e-4
    assert min(fps, strength) > 1e-3
