"""A picture with its masks drawn over it: fill, outline, number and score, boxes and points.

Colours are Okabe and Ito's (jfly.uni-koeln.de/color, 2008), which colour-blind people tell apart; numbers and outlines
say the same without any colour.
"""

import colorsys
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]

SAFE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
DARK, LIGHT = (20, 20, 20), (255, 255, 255)
STRENGTH = 0.5
"""Of a mask's colour over the picture."""
_LABEL_GRID = 128
"""Pixels of the longer side in which the place of a label is looked for."""


@dataclass(frozen=True)
class Drawn:
    """One mask: bool [h, w] of the picture's size; its score 0..1 and its tight box [x1, y1, x2, y2], if known."""

    mask: np.ndarray
    score: float | None = None
    box: Sequence[float] | None = None


def draw_masks(
    picture: Image.Image,
    masks: Sequence[Drawn],
    boxes: Sequence[Sequence[float]] = (),
    points: Sequence[Sequence[float]] = (),
    point_labels: Sequence[int] = (),
) -> Image.Image:
    """A new RGB picture. boxes, points, point_labels: what was asked for, in pixels. Raises ValueError on a size."""
    pixels = np.asarray(picture.convert("RGB")).copy()
    if wrong := [one.mask.shape for one in masks if one.mask.shape != pixels.shape[:2]]:
        raise ValueError(f"a mask is {wrong[0][1]}x{wrong[0][0]}, the picture {picture.width}x{picture.height}")
    line = max(1, round(max(picture.size) / 500))
    tints = colours(len(masks))
    for one, colour in zip(masks, tints, strict=True):
        pixels[one.mask] = (pixels[one.mask] * (1 - STRENGTH) + np.array(colour) * STRENGTH).round()
    # Outlines after all fills: where masks overlap each edge stays to be seen.
    for one, colour in zip(masks, tints, strict=True):
        pixels[_edge(one.mask, 3 * line)] = DARK
        pixels[_edge(one.mask, 2 * line)] = colour
    drawn = Image.fromarray(pixels)
    draw = ImageDraw.Draw(drawn)
    for box in boxes:
        _dashes(draw, box, line)
    for one, colour in zip(masks, tints, strict=True):
        if one.box:
            _frame(draw, one.box, colour, line)
    for place, label in zip(points, point_labels, strict=True):
        _point(draw, place, label == 1, max(7, 5 * line))
    _write_labels(draw, masks, tints, drawn.size)
    return drawn


def colours(count: int) -> list[Colour]:
    """So many distinct colours: the safe ones, then ones as far apart in hue as a golden angle makes them."""
    more = (
        colorsys.hls_to_rgb((index * 0.381966) % 1, 0.35 + 0.3 * (index % 2), 0.8) for index in range(count - len(SAFE))
    )
    found = [*SAFE, *((round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in more)]
    return found[:count]


def inner_point(mask: np.ndarray) -> tuple[float, float] | None:
    """A point (x, y) well inside the mask's largest part: the last one left when it is worn away from its edges."""
    step = max(1, math.ceil(max(mask.shape) / _LABEL_GRID))
    left = np.pad(mask[::step, ::step], 1)
    if not left.any():
        left, step = np.pad(mask, 1), 1
    if not left.any():
        return None
    while (worn := _worn(left)).any():
        left = worn
    rows, columns = np.nonzero(left)
    middle = len(rows) // 2
    return float((columns[middle] - 1) * step), float((rows[middle] - 1) * step)  # a pixel that was looked at


def _worn(mask: np.ndarray) -> np.ndarray:
    """Without the pixels that have a neighbour outside; bool [h, w] with a border of False."""
    worn = mask.copy()
    worn[1:-1, 1:-1] &= mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    return worn


def _edge(mask: np.ndarray, thickness: int) -> np.ndarray:
    """The outermost pixels of a mask, `thickness` deep; also where it touches the picture's edge."""
    inner = np.pad(mask, 1)
    for _ in range(thickness):
        inner = _worn(inner)
    return mask & ~inner[1:-1, 1:-1]


def _write_labels(
    draw: ImageDraw.ImageDraw, masks: Sequence[Drawn], tints: Sequence[Colour], size: tuple[int, int]
) -> None:
    """ "<number>  <score>" on each mask, where no other one is if there is such a place, and not over another label."""
    font = ImageFont.load_default(max(12, min(size) / 32))
    shared = np.sum([np.zeros(size[::-1], bool), *(one.mask for one in masks)], axis=0) > 1
    taken: list[Rectangle] = []
    for number, (one, colour) in enumerate(zip(masks, tints, strict=True), 1):
        text = f"{number}" if one.score is None else f"{number}  {one.score:.2f}"
        place = inner_point(one.mask & ~shared) or inner_point(one.mask) or (0.0, 0.0)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        pad = (bottom - top) / 3
        width, height = right - left + 2 * pad, bottom - top + 2 * pad
        area = _free(place, (width, height), size, taken)
        taken.append(area)
        draw.rectangle(area, fill=DARK, outline=colour, width=max(1, round(pad / 2)))
        draw.text((area[0] + pad - left, area[1] + pad - top), text, fill=LIGHT, font=font)


def _free(
    centre: tuple[float, float], extent: tuple[float, float], size: tuple[int, int], taken: Sequence[Rectangle]
) -> Rectangle:
    """A rectangle in the picture around `centre`, or as near above or below as the ones taken leave room."""
    found: Rectangle | None = None
    for shift in _shifts(size[1] / extent[1]):
        x = min(max(centre[0] - extent[0] / 2, 0), max(size[0] - extent[0] - 1, 0))
        y = min(max(centre[1] - extent[1] / 2 + shift * extent[1], 0), max(size[1] - extent[1] - 1, 0))
        area = (x, y, x + extent[0], y + extent[1])
        found = found or area
        if not any(area[0] <= b[2] and b[0] <= area[2] and area[1] <= b[3] and b[1] <= area[3] for b in taken):
            return area
    return found or (0, 0, *extent)


def _shifts(rows: float) -> Iterator[float]:
    yield 0
    for step in range(1, math.ceil(rows) + 1):
        yield from (step * 1.1, -step * 1.1)


def _frame(draw: ImageDraw.ImageDraw, box: Sequence[float], colour: Colour, line: int) -> None:
    x1, y1, x2, y2 = box
    draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=DARK, width=line + 2)
    draw.rectangle((x1, y1, x2, y2), outline=colour, width=line)


def _dashes(draw: ImageDraw.ImageDraw, box: Sequence[float], line: int) -> None:
    """A box that was asked for: dashes of light and dark, seen on any ground."""
    x1, y1, x2, y2 = box
    for start, end in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))):
        length = max(math.dist(start, end), 1)
        ways = np.append(np.arange(0, length, 5 * line), length) / length
        for number, (here, there) in enumerate(pairwise(ways)):
            ends = [tuple(start[i] + (end[i] - start[i]) * way for i in (0, 1)) for way in (here, there)]
            draw.line([ends[0], ends[1]], fill=LIGHT if number % 2 else DARK, width=line)


def _point(draw: ImageDraw.ImageDraw, place: Sequence[float], inside: bool, radius: int) -> None:
    """A point that was asked for: a disc with + (belongs to it) or - (does not)."""
    x, y = place
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=LIGHT, outline=DARK, width=max(1, radius // 4))
    arm, width = radius * 0.55, max(1, radius // 4)
    draw.line((x - arm, y, x + arm, y), fill=DARK, width=width)
    if inside:
        draw.line((x, y - arm, x, y + arm), fill=DARK, width=width)
