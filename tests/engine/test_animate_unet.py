# ruff: noqa: F811  (pytest finds a fixture by the name of an argument)
"""SVD inside our graph against diffusers with the same random weights: one evaluation, whole runs, the VAE.

diffusers gets the numbers a caller of its pipeline means (fps 6, motion bucket 127, ...) and this file's own plain
Euler loop; core gets what the graph's nodes made of them.
"""

import logging
import math
from itertools import pairwise

import pytest
import torch

from .svd_world import FRAMES, HEIGHT, WIDTH, as_in_comfyui, condition, picture, relative_error, world  # noqa: F401

pytestmark = pytest.mark.engine

FPS, BUCKET, STRENGTH, SEED = 6, 127, 0.02, 11
LATENT_SCALE = 0.18215


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def said(errors: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1e}" for name, value in errors.items())


def core_denoised(world, x: torch.Tensor, sigma: float, positive: list, negative: list) -> torch.Tensor:
    """One evaluation through core's sampler, with everything it makes of the conditioning; [n, 4, h, w]."""
    import comfy.sample
    import comfy.samplers

    def once(model, _, sigmas, extra_args=None, **__):
        return model(x, sigmas[:1].expand(1), **(extra_args or {}))

    sampler, sigmas = comfy.samplers.KSAMPLER(once), torch.tensor([sigma, 0.0])
    made = comfy.sample.sample_custom(world.model, x, 1.0, sampler, sigmas, positive, negative, torch.zeros_like(x))
    return made * LATENT_SCALE


def concat_latents(world, image: torch.Tensor, strength: float = STRENGTH, seed: int = SEED) -> torch.Tensor:
    """The authors' rule with diffusers' VAE: noise on -1..1, the distribution's mode, unscaled."""
    from custom_nodes.comfy_motion.svd.augment import start_noise
    from custom_nodes.comfy_motion.svd.framing import framed

    pixels = framed(image, WIDTH, HEIGHT, antialias=True) * 2 - 1 + strength * start_noise(WIDTH, HEIGHT, seed)
    return world.reference_vae.encode(pixels.movedim(-1, 1)).latent_dist.mode()


def reference_denoised(world, x, sigma, embedding, concat, ids=(FPS - 1, BUCKET, STRENGTH)) -> torch.Tensor:
    """Karras' preconditioning for v-prediction around diffusers' UNet."""
    scaled = x / math.sqrt(sigma**2 + 1)
    given = torch.cat([scaled, concat.expand(len(x), -1, -1, -1)], 1).unsqueeze(0)
    v = world.unet(given, torch.tensor(0.25 * math.log(sigma)), embedding, torch.tensor([ids]), return_dict=False)[0][0]
    return x / (sigma**2 + 1) - v * sigma / math.sqrt(sigma**2 + 1)


@pytest.mark.parametrize("sigma", [700.0, 1.3])
def test_cores_unet_with_our_conditioning_is_diffusers(world, sigma):
    """The bound is far above rounding (2e-5 seen) and far below any mistake: each twin has one thing wrong."""
    x = noise(FRAMES, 4, HEIGHT // 8, WIDTH // 8, seed=1) * math.sqrt(sigma**2 + 1)
    right = {"fps": FPS, "motion_bucket_id": BUCKET, "strength": STRENGTH, "seed": SEED}
    embedding = condition(world, **right)[0][0][0]
    skipped = x / (sigma**2 + 1)  # right whatever the network says
    expected = reference_denoised(world, x, sigma, embedding, concat_latents(world, picture())) - skipped

    def error(x_given: torch.Tensor = x, order: int = 1, **changes) -> float:
        positive, negative, _ = condition(world, **right | changes)
        made = core_denoised(world, x_given.flip(0) if order < 0 else x_given, sigma, positive, negative)
        return relative_error((made.flip(0) if order < 0 else made) - skipped, expected)

    same = error()
    twins = {
        "fps 7": error(fps=7),
        "motion bucket 126": error(motion_bucket_id=126),
        "another strength": error(strength=0.04),
        "another seed": error(seed=12),
        "frames in reverse and back": error(order=-1),
    }
    print(f"\nsigma {sigma}, relative L2 of core against diffusers: {same:.1e}; {said(twins)}")
    assert same < 1e-4
    assert min(twins.values()) > 1e-3


def karras_sigmas(steps: int, low: float = 0.002, high: float = 700.0, rho: float = 7.0) -> list[float]:
    """Karras et al. 2022, equation 5, and 0 at the end."""
    ends = high ** (1 / rho), low ** (1 / rho)
    return [(ends[0] + n / (steps - 1) * (ends[1] - ends[0])) ** rho for n in range(steps)] + [0.0]


def reference_run(world, embedding, concat, steps: int, guidance: float, seed: int, low: float = 1.0) -> torch.Tensor:
    """Euler from pure noise; the guidance scale rises from `low` at the first frame to `guidance` at the last."""
    scale = torch.linspace(low, guidance, FRAMES)[:, None, None, None]
    sigmas = karras_sigmas(steps)
    x = noise(FRAMES, 4, HEIGHT // 8, WIDTH // 8, seed=seed) * math.sqrt(sigmas[0] ** 2 + 1)
    for sigma, following in pairwise(sigmas):
        shown = reference_denoised(world, x, sigma, embedding, concat)
        blank = reference_denoised(world, x, sigma, torch.zeros_like(embedding), torch.zeros_like(concat))
        x = x + (x - (blank + scale * (shown - blank))) / sigma * (following - sigma)
    return x / LATENT_SCALE


def graph_run(world, steps: int, guidance: float, seed: int, min_cfg: float = 1.0, **changes) -> torch.Tensor:
    """The nodes of workflows/animate.json up to the sampler."""
    positive, negative, latent = condition(world, strength=STRENGTH, seed=seed, **changes)
    (model,) = world.video_nodes.VideoLinearCFGGuidance().patch(world.model, min_cfg)
    (made,) = world.nodes.KSampler().sample(
        model, seed, steps, guidance, "euler", "karras", positive, negative, latent, 1.0
    )
    return made["samples"]


def test_the_latents_of_whole_runs_are_the_references(world):
    """Noise, schedule, solver, guidance by frame and latent scale, three steps on end."""
    embedding = condition(world)[0][0][0]
    expected = reference_run(world, embedding, concat_latents(world, picture()), 3, 2.5, SEED)
    made = graph_run(world, 3, 2.5, SEED)
    error = relative_error(made, expected)
    twins = {
        "fps 7": relative_error(graph_run(world, 3, 2.5, SEED, fps=7), expected),
        "guidance 2.5 on every frame": relative_error(graph_run(world, 3, 2.5, SEED, min_cfg=2.5), expected),
        "another seed": relative_error(graph_run(world, 3, 2.5, SEED + 1), expected),
    }
    print(f"\nrelative L2 after three steps: {error:.1e}; {said(twins)}")
    assert error < 1e-4
    assert min(twins.values()) > 1e-3


def test_the_vae_is_diffusers_and_its_chunks_matter(world):
    """Encoding one picture, decoding three frames together; decoded alone, the frames do not see one another."""
    latents = noise(FRAMES, 4, HEIGHT // 8, WIDTH // 8, seed=3)
    expected = world.reference_vae.decode(latents, num_frames=FRAMES).sample.clamp(-1, 1).movedim(1, -1) / 2 + 0.5
    together = relative_error(world.vae.decode(latents), expected)
    alone = relative_error(torch.cat([world.vae.decode(latents[n : n + 1]) for n in range(FRAMES)]), expected)
    encoded = relative_error(world.vae.encode(picture(WIDTH, HEIGHT)), world.reference_vae.encode(
        picture(WIDTH, HEIGHT).movedim(-1, 1) * 2 - 1
    ).latent_dist.mode())  # fmt: skip
    print(f"\nrelative L2, VAE: encoding {encoded:.1e}, decoding {together:.1e}, frame by frame {alone:.1e}")
    assert max(encoded, together) < 1e-4
    assert alone > 1e-3


def test_core_leaves_no_tensor_of_the_file_over(world, caplog):
    import comfy.sd

    with caplog.at_level(logging.DEBUG):
        model, *_ = comfy.sd.load_checkpoint_guess_config(str(world.path), output_clip=False, output_clipvision=True)
    words = [record.getMessage() for record in caplog.records]
    assert [w for w in words if "missing" in w.lower() or "unexpected" in w.lower() or "no match" in w.lower()] == []
    assert type(model.model).__name__ == "SVD_img2vid"
