"""What the network is told besides poses: the reference picture, through CLIP and the VAE, and the start noise.

MimicMotion's published rules, facts 1 to 4, where core's SVD_img2vid_Conditioning does something else: core cuts
CLIP's picture to its middle square, shrinks it with an antialiased filter of its own and rounds it to 8 bits, and
takes no seed for noise. On purpose not as published: all random numbers are drawn on the CPU (theirs on the GPU), so
that a seed means the same everywhere; the picture is taken as it is (theirs lost a level of many of its values, see
the paragraph on fp16); and latents stay float32 between steps (theirs go to float16).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from ..svd.augment import with_noise

FPS, MOTION_BUCKET = 7, 127  # what the model is told, whatever the video's rate; core subtracts 1 (fact 4)
CLIP_SIZE = 224
SHRINK = 8  # pixels a side of one latent


@dataclass(frozen=True)
class StartNoise:
    """Normal noise, float32 on the CPU: `picture` [1, 3, h, w] and `latents` [tile, 4, h/8, w/8]."""

    picture: torch.Tensor
    latents: torch.Tensor

    def of(self, frames: int) -> torch.Tensor:
        """Latent noise of a chunk of `frames`: frame k has number k mod tile (fact 1)."""
        return self.latents[torch.arange(frames) % len(self.latents)]


def draw_noise(seed: int, width: int, height: int, tile: int) -> StartNoise:
    """Both kinds from one generator, the picture's always first (fact 1)."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.randn((1, 3, height, width), generator=generator)
    latents = torch.randn((1, tile, 4, height // SHRINK, width // SHRINK), generator=generator)
    return StartNoise(picture, latents[0])


def clip_pixels(pixels: torch.Tensor, size: int = CLIP_SIZE) -> torch.Tensor:
    """[1, 3, h, w] squeezed to size x size whatever its aspect (fact 3).

    A Gaussian of deviation (factor - 1) / 2 a side, over twice that to each side and mirrored at the edges, then
    bicubic, corners on corners. Values may leave 0..1 a little; they are neither clamped nor rounded.
    """
    for axis in (2, 3):
        pixels = _blurred(pixels, axis, pixels.shape[axis] / size)
    return functional.interpolate(pixels, size=(size, size), mode="bicubic", align_corners=True)


def _blurred(pixels: torch.Tensor, axis: int, factor: float) -> torch.Tensor:
    deviation = max((factor - 1) / 2, 0.001)
    reach = int(max(4 * deviation, 3)) // 2
    places = torch.arange(-reach, reach + 1, dtype=pixels.dtype, device=pixels.device)
    kernel = torch.exp(-(places**2) / (2 * deviation**2))
    kernel = (kernel / kernel.sum()).reshape((1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1))
    padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
    padded = functional.pad(pixels, padding, mode="reflect")
    return functional.conv2d(padded, kernel.expand(pixels.shape[1], -1, -1, -1), groups=pixels.shape[1])


def clip_embedding(clip_vision: Any, picture: torch.Tensor) -> torch.Tensor:
    """What CLIP says of the picture without noise, [1, 1, 1024]. picture: float [1, h, w, 3] in 0..1."""
    import comfy.model_management

    comfy.model_management.load_model_gpu(clip_vision.patcher)
    small = clip_pixels(picture.movedim(-1, 1).float())
    mean, deviation = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (clip_vision.image_mean, clip_vision.image_std))
    # Not clip_vision.encode_image: that would clamp and round the picture.
    given = ((small - mean) / deviation).to(clip_vision.load_device)
    embedding = clip_vision.model(pixel_values=given, intermediate_output=-2)[2]
    return embedding.float().to(comfy.model_management.intermediate_device()).unsqueeze(0)


def picture_latent(vae: Any, picture: torch.Tensor, noise: torch.Tensor, strength: float) -> torch.Tensor:
    """The VAE's mean for the picture with noise, unscaled, [1, 4, h/8, w/8] (fact 2)."""
    return vae.encode(with_noise(picture, strength, noise.movedim(1, -1)))


def conditions(embedding: torch.Tensor, latent: torch.Tensor, strength: float) -> tuple[list, list]:
    """Core's (positive, negative): the negative half sees zeros in place of the picture (fact 7)."""
    told = {"fps": FPS, "motion_bucket_id": MOTION_BUCKET, "augmentation_level": strength}
    positive = [[embedding, told | {"concat_latent_image": latent}]]
    negative = [[torch.zeros_like(embedding), told | {"concat_latent_image": torch.zeros_like(latent)}]]
    return positive, negative


def karras_sigmas(model: Any, steps: int) -> torch.Tensor:
    """The model's own noise levels, 700 to 0.002 by Karras' rule with rho 7, and 0: steps + 1 of them (fact 4)."""
    import comfy.k_diffusion.sampling

    sampling = model.get_model_object("model_sampling")
    low, high = float(sampling.sigma_min), float(sampling.sigma_max)
    return comfy.k_diffusion.sampling.get_sigmas_karras(steps, low, high, rho=7.0)
