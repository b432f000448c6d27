"""MimicMotion's run as its paper and its published pipeline have it, put together from diffusers' parts.

Written for the tests from the facts in their order; it shares nothing with custom_nodes. Random numbers come from the
CPU, latents stay float32, and the picture is the one that was given: the three ways in which ours means to differ.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

LATENT_SCALE = 0.18215


@dataclass
class Reference:
    """diffusers' UNet and VAE, PoseNet's tensors, and what turns CLIP's pixels [1, 3, 224, 224] into an embedding."""

    unet: Any
    vae: Any
    pose_net: dict[str, torch.Tensor]
    clip: Any


@dataclass
class Wanted:
    """picture uint8 [h, w, 3]; poses uint8 [frames, h, w, 3], the picture's own first."""

    picture: torch.Tensor
    poses: torch.Tensor
    steps: int
    guidance: tuple[float, float]
    strength: float
    seed: int
    tile: int
    overlap: int


def pose_latents(weights: dict[str, torch.Tensor], pictures: torch.Tensor) -> torch.Tensor:
    """The published network written out; one frame at a time. uint8 [n, h, w, 3] to [n, channels, h/8, w/8]."""
    made = []
    for picture in pictures:
        x = (picture.float() / 127.5 - 1).permute(2, 0, 1)[None]
        for number, stride in ((0, 1), (2, 2), (4, 1), (6, 2), (8, 1), (10, 2), (12, 1), (14, 1)):
            layer = weights[f"conv_layers.{number}.weight"], weights[f"conv_layers.{number}.bias"]
            x = functional.silu(functional.conv2d(x, *layer, stride=stride, padding=1))
        x = functional.conv2d(x, weights["final_proj.weight"], weights["final_proj.bias"])
        made.append(x[0] * weights["scale"])
    return torch.stack(made)


def scheduler(steps: int):
    """EulerDiscreteScheduler as SVD XT's scheduler_config.json has it."""
    from diffusers import EulerDiscreteScheduler

    made = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="leading",
        timestep_type="continuous",
        steps_offset=1,
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
    )
    made.set_timesteps(steps)
    return made


def clip_embedding(clip, picture: torch.Tensor) -> torch.Tensor:
    """diffusers' own antialiased resizing of [1, 3, h, w] in -1..1, CLIP's mean and deviation (fact 3)."""
    from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing

    small = (_resize_with_antialiasing(picture, (224, 224)) + 1) / 2
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    return clip((small - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(deviation).view(1, 3, 1, 1))[:, None]


def tiles(frames: int, tile: int, overlap: int) -> list[list[int]]:
    """Fact 5."""
    found, start = [], 0
    while start <= frames - tile:
        found.append([0, *range(start + 1, start + tile)])
        start += tile - overlap
    if found[-1][-1] != frames - 1:
        found.append([0, *range(frames - tile + 1, frames)])
    return found


@contextmanager
def added_to_conv_in(unet, poses: torch.Tensor):
    """Adds to what the first convolution makes, which diffusers keeps as the first residual as well (fact 8)."""
    handle = unet.conv_in.register_forward_hook(lambda _module, _given, made: made + poses)
    try:
        yield
    finally:
        handle.remove()


def latents(models: Reference, wanted: Wanted) -> torch.Tensor:
    """[frames, 4, h/8, w/8], as the VAE takes them (divided by its scale)."""
    height, width, frames = *wanted.picture.shape[:2], len(wanted.poses)
    picture = (wanted.picture.float() / 127.5 - 1).permute(2, 0, 1)[None]
    generator = torch.Generator().manual_seed(wanted.seed)
    image_noise = torch.randn((1, 3, height, width), generator=generator)  # fact 1: always, and first
    noise = torch.randn((1, wanted.tile, 4, height // 8, width // 8), generator=generator)
    euler = scheduler(wanted.steps)
    x = torch.stack([noise[:, frame % wanted.tile] for frame in range(frames)], 1) * (700.0**2 + 1) ** 0.5

    embedding = clip_embedding(models.clip, picture)
    concat = models.vae.encode(picture + wanted.strength * image_noise).latent_dist.mode()[:, None]
    ids = torch.tensor([[6.0, 127.0, wanted.strength]])
    poses = pose_latents(models.pose_net, wanted.poses)
    scale = torch.linspace(*wanted.guidance, frames)[None, :, None, None, None]
    weight = torch.tensor(
        [min((p + 0.5) * 2 / wanted.tile, 2 - (p + 0.5) * 2 / wanted.tile) for p in range(wanted.tile)]
    )
    weight = weight[None, :, None, None, None]
    for time in euler.timesteps:
        given = euler.scale_model_input(x, time)
        shown, blank, total = torch.zeros_like(x), torch.zeros_like(x), torch.zeros(1, frames, 1, 1, 1)
        for tile in tiles(frames, wanted.tile, wanted.overlap):
            part = given[:, tile]
            picture_part = concat.expand(-1, len(tile), -1, -1, -1)
            with added_to_conv_in(models.unet, poses[tile]):
                said = models.unet(torch.cat([part, picture_part], 2), time, embedding, ids).sample
            none = models.unet(
                torch.cat([part, torch.zeros_like(picture_part)], 2), time, torch.zeros_like(embedding), ids
            ).sample
            shown[:, tile] += weight * said
            blank[:, tile] += weight * none
            total[:, tile] += weight
        shown, blank = shown / total, blank / total
        x = euler.step(blank + scale * (shown - blank), time, x).prev_sample
    return x[0] / LATENT_SCALE


def frames(models: Reference, made: torch.Tensor, chunk: int = 8) -> torch.Tensor:
    """The VAE in chunks from frame 0 on, which is dropped afterwards; uint8 [frames - 1, h, w, 3] (fact 9)."""
    parts = [models.vae.decode(some, num_frames=len(some)).sample for some in made.split(chunk)]
    pixels = (torch.cat(parts).clamp(-1, 1) / 2 + 0.5).movedim(1, -1)
    return (pixels[1:] * 255).round().to(torch.uint8)
