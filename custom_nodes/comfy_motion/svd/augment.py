"""The start image for SVD, prepared as its authors do. The source of every rule is StableVideoDiffusionPipeline in
diffusers, which follows Stability's sampling script.

Where core v0.33.0's SVD_img2vid_Conditioning differs:
- its noise takes no seed, so the same job gives another video each time; and it is added to values of 0..1, the
  authors' to values of -1..1: at the same noise_aug_strength core's is twice as strong as what the model is told;
- its CLIP sees the middle square of the picture, the authors' the whole picture pressed into a square;
- it shrinks without antialiasing.
Both take the mode of the VAE's distribution, unscaled, show CLIP the picture without noise, and condition on fps - 1.
"""

from typing import Any

import torch

from .framing import framed

_STREAM = 0x5D0A06  # KSampler draws its noise from the bare seed; the same numbers must not come twice


def start_noise(width: int, height: int, seed: int) -> torch.Tensor:
    """Normal noise, float32 [1, height, width, 3] on the CPU: the same for a seed on every machine."""
    generator = torch.Generator().manual_seed(seed ^ _STREAM)
    return torch.randn((1, 3, height, width), generator=generator).movedim(1, -1)


def with_noise(pixels: torch.Tensor, strength: float, noise: torch.Tensor) -> torch.Tensor:
    """[1, h, w, 3] in 0..1 plus normal noise of that shape as the authors add it; not clamped, as theirs.

    They add strength * noise to -1..1, which is half as much in 0..1.
    """
    return pixels + 0.5 * strength * noise.to(pixels)


def augment_start(
    conditioning: tuple[list, list],
    image: torch.Tensor,
    vae: Any,
    size: tuple[int, int],
    strength: float,
    seed: int,
    clip_vision: Any = None,
    antialias: bool = True,
) -> tuple[list, list]:
    """Core's (positive, negative) with the start image prepared anew.

    image: float [n, h, w, 3], the first is used. size: (width, height) of the video. strength: noise_aug_strength,
    which both also tell the model. clip_vision: encodes the whole frame in place of core's middle square; None keeps
    core's embedding. Without it, at strength 0 and without antialias, nothing changes.
    """
    positive, negative = conditioning
    told = {"augmentation_level": strength}
    pixels = framed(image, *size, antialias)
    noised = with_noise(pixels, strength, start_noise(*size, seed)) if strength else pixels
    seen = told | {"concat_latent_image": vae.encode(noised)}
    embedding = None
    if clip_vision is not None:
        embedding = clip_vision.encode_image(pixels, crop=False).image_embeds.unsqueeze(0)
    return _changed(positive, seen, embedding), _changed(negative, told, None)


def _changed(conditioning: list, values: dict[str, Any], embedding: torch.Tensor | None) -> list:
    return [[tensor if embedding is None else embedding, options | values] for tensor, options in conditioning]
