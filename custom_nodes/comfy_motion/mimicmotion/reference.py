"""The reference picture at the size MimicMotion works at, by fact 18 of its published pipeline."""

import math

import torch
import torch.nn.functional as F

from ..errors import MotionError
from ..video.frames import to_float, to_uint8

MULTIPLE = 64  # VAE and UNet together halve a side six times
ORIENTATIONS = ("portrait", "as the picture")


def target_size(width: int, height: int, resolution: int, orientation: str = "portrait") -> tuple[int, int]:
    """Width and height, in pixels, of a picture of that size once it is fitted.

    The short side is `resolution`, the long one 16/9 of it rounded down to a multiple of 64. "portrait" stands
    upright whatever the picture is; "as the picture" is the published rule, where a square lies on its side.
    Raises MotionError invalid_value for a resolution that is no multiple of 64.
    """
    if orientation not in ORIENTATIONS:
        raise ValueError(f"orientation is {orientation!r}; it can be {' or '.join(ORIENTATIONS)}")
    if resolution % MULTIPLE or resolution <= 0:
        below = max(resolution // MULTIPLE, 1) * MULTIPLE
        raise MotionError(
            "invalid_value",
            f"The resolution {resolution} is no multiple of {MULTIPLE}.",
            f"Use {below} or {below + MULTIPLE}.",
        )
    long_side = resolution * 16 // (9 * MULTIPLE) * MULTIPLE
    if orientation == "portrait" or height > width:
        return resolution, long_side
    return long_side, resolution


def _resized_size(source: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The smallest size of the source's aspect that covers the target, rounded up; both (width, height)."""
    (width, height), (target_width, target_height) = source, target
    aspect = height / width
    if aspect < target_height / target_width:
        return math.ceil(target_height / aspect), target_height
    return target_width, math.ceil(target_width * aspect)


def fit_reference(image: torch.Tensor, resolution: int, orientation: str = "portrait") -> torch.Tensor:
    """The first picture of an IMAGE [n, h, w, 3 or 4], 0..1, as IMAGE [1, height, width, 3] in steps of 1/255.

    Resized bilinearly without antialiasing on 8-bit values, as the network was shown its pictures, then cut around
    the centre. Errors as target_size.
    """
    picture = to_uint8(image[:1])
    height, width = picture.shape[1:3]
    target = target_size(width, height, resolution, orientation)
    across, down = _resized_size((width, height), target)
    values = picture.movedim(-1, 1).to(torch.float32)
    if (across, down) != (width, height):
        values = F.interpolate(values, size=(down, across), mode="bilinear", align_corners=False, antialias=False)
    top, left = round((down - target[1]) / 2), round((across - target[0]) / 2)
    cut = values[..., top : top + target[1], left : left + target[0]]
    return to_float(cut.round().to(torch.uint8).movedim(1, -1).contiguous())


def what_was_cut(image: torch.Tensor, fitted: torch.Tensor) -> str:
    """A sentence that says how much of the picture is left, "" if hardly anything was cut off.

    image: [n, h, w, c] as it came, fitted: what fit_reference made of it.
    """
    height, width = image.shape[1:3]
    new_height, new_width = fitted.shape[1:3]
    kept = min(width / height, new_width / new_height) / max(width / height, new_width / new_height)
    if kept > 0.95:
        return ""
    side = "width" if width / height > new_width / new_height else "height"
    return (
        f"The reference picture of {width}x{height} pixels was cropped around its centre to {new_width}x{new_height}: "
        f"{kept:.0%} of its {side} is left."
    )
