"""Which part of a picture SVD sees, and that part at the video's size."""

import torch
import torch.nn.functional as F


def centre_crop(source: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """What core's `common_upscale(..., crop="center")` takes of a picture: (left, top, width, height) in its pixels.

    source, target: (width, height). The same amount goes on both sides, to the last rounding as core does it.
    """
    (width, height), (target_width, target_height) = source, target
    aspect, wanted = width / height, target_width / target_height
    left = top = 0
    if aspect > wanted:
        left = round((width - width * (wanted / aspect)) / 2)
    elif aspect < wanted:
        top = round((height - height * (aspect / wanted)) / 2)
    return left, top, width - 2 * left, height - 2 * top


def framed(image: torch.Tensor, width: int, height: int, antialias: bool) -> torch.Tensor:
    """The first picture of a float [n, h, w, 3 or 4] as [1, height, width, 3], cropped around its centre.

    antialias: bicubic over all pixels, as the authors' users get it from a picture prepared at this size; else core's
    bilinear, which reads four pixels whatever the size and so aliases when a photograph shrinks to a quarter.
    """
    left, top, crop_width, crop_height = centre_crop((image.shape[2], image.shape[1]), (width, height))
    part = image[:1, top : top + crop_height, left : left + crop_width, :3].movedim(-1, 1)
    if antialias:
        part = F.interpolate(part, size=(height, width), mode="bicubic", antialias=True).clamp(0, 1)
    else:
        part = F.interpolate(part, size=(height, width), mode="bilinear")
    return part.movedim(1, -1)
