"""The picture at a size that the model was trained near: its own shape as far as sides of 16 pixels allow."""

import math

import torch

from ..errors import MotionError

AREAS = {"480p": 832 * 480, "720p": 1280 * 720}
GRID = 16  # 8 of the VAE times 2 of the model's patches
SMALLEST = 64


def fitted_size(width: int, height: int, resolution: str) -> tuple[int, int]:
    """(width, height) of about the resolution's area, in the shape of a picture of width x height pixels.

    Wan's own published rule: each side is the root of area times aspect, down to a multiple of 16; at least 64 here.
    Raises MotionError invalid_value for an unknown resolution and a picture without pixels.
    """
    if resolution not in AREAS:
        raise MotionError("invalid_value", f"resolution is {resolution!r}; it can be {' or '.join(AREAS)}.")
    if width < 1 or height < 1:
        raise MotionError("invalid_value", f"The picture has {width}x{height} pixels.", "Connect a picture.")
    area = AREAS[resolution]
    sides = (math.isqrt(area * one // other) // GRID * GRID for one, other in ((width, height), (height, width)))
    fitted_width, fitted_height = (max(SMALLEST, side) for side in sides)
    return fitted_width, fitted_height


def fit_picture(image: torch.Tensor, resolution: str) -> torch.Tensor:
    """IMAGE [n, h, w, 3 or more] to float [1, height, width, 3]: the first, scaled to cover, its middle cut out.

    As in MultiTalk's published code: scaled to whole pixels at or above the size, bilinear with the filter widened
    where it shrinks (as Pillow does), cropped around the centre. Raises MotionError as `fitted_size`.
    """
    image = image[:1, ..., :3].float()
    height, width = image.shape[1:3]
    to_width, to_height = fitted_size(width, height, resolution)
    scale = max(to_width / width, to_height / height)
    # No less than asked for: width * (to_width / width) may come out a hair below to_width, or above it.
    covering = [max(to, math.ceil(scale * side - 1e-9)) for to, side in ((to_height, height), (to_width, width))]
    pixels = image.movedim(-1, 1)
    if covering != [height, width]:
        pixels = torch.nn.functional.interpolate(pixels, size=covering, mode="bilinear", antialias=True)
    top, left = (round((have - want) / 2) for have, want in zip(covering, (to_height, to_width), strict=True))
    return pixels[..., top : top + to_height, left : left + to_width].movedim(1, -1).clamp(0, 1).contiguous()
