"""Bringing a picture to a given size without distortion. The geometry is pure; `fitted` does it.

The letterbox follows the published Wan2.2 Animate: sizes truncated, top and left = rest // 2, area interpolation
when shrinking and bilinear when enlarging.
"""

from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

FITS = ("pad", "crop")


@dataclass(frozen=True)
class Placement:
    """What is taken out of the source and where it lands: all in whole pixels, (left, top) and (width, height)."""

    source_at: tuple[int, int]
    source_size: tuple[int, int]
    target_at: tuple[int, int]
    target_size: tuple[int, int]


def place(
    source: tuple[int, int], target: tuple[int, int], fit: str = "pad", pixel_aspect: Fraction = Fraction(1)
) -> Placement:
    """Where a picture of size `source` goes in a picture of size `target`, both (width, height).

    fit: "pad" shows all of it between black bars, "crop" fills the target and cuts what stands over.
    pixel_aspect: width of a source pixel by its height (not 1 for anamorphic video).
    """
    width, height = source
    shown = width * pixel_aspect  # width in square pixels
    target_width, target_height = target
    wider = shown * target_height >= target_width * height
    if fit == "pad":
        if wider:
            size = target_width, max(1, int(target_width * height / shown))
        else:
            size = max(1, int(shown * target_height / height)), target_height
        at = (target_width - size[0]) // 2, (target_height - size[1]) // 2
        return Placement((0, 0), source, at, size)
    if fit != "crop":
        raise ValueError(f"fit is {fit!r}; it can be {' or '.join(FITS)}")
    if wider:
        cut = max(1, min(width, round(Fraction(height * target_width, target_height) / pixel_aspect))), height
    else:
        cut = width, max(1, min(height, round(shown * target_height / target_width)))
    return Placement(((width - cut[0]) // 2, (height - cut[1]) // 2), cut, (0, 0), target)


def fitted(image: np.ndarray, target: tuple[int, int], placement: Placement) -> np.ndarray:
    """`image` uint8 [h, w, 3] as uint8 [target height, target width, 3]; the same array when nothing has to be done."""
    (left, top), (width, height) = placement.source_at, placement.source_size
    part = image[top : top + height, left : left + width]
    if placement.target_size != (width, height):
        shrinking = placement.target_size[0] <= width and placement.target_size[1] <= height
        how = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
        part = cv2.resize(np.ascontiguousarray(part), placement.target_size, interpolation=how)
    if placement.target_size == target:
        return np.ascontiguousarray(part)
    (left, top), (width, height) = placement.target_at, placement.target_size
    canvas = np.zeros((target[1], target[0], 3), np.uint8)
    canvas[top : top + height, left : left + width] = part
    return canvas
