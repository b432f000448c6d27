"""Who speaks, drawn over the picture, so that a wrong binding is seen before or without a second run."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..segment.drawn import COLOURS, draw_masks
from .speakers import Speakers

FONT = 1 / 24  # of the picture's shorter side
SMALLEST, LARGEST = 8, 64  # pixels of a letter's height
Box = tuple[int, int, int, int]  # left, top, right, lower edge in pixels


def draw_speakers(picture: torch.Tensor, speakers: Speakers) -> torch.Tensor:
    """The picture, uint8 [h, w, 3], with each speaker's mask tinted, outlined and named; the speakers' size.

    A name stands at the lower end of its mask, since faces are at the upper one. One speaker has no mask of their own:
    only the name is written.
    """
    height, width = picture.shape[:2]
    if speakers.num_speakers > 1:
        masks = speakers.rows[: speakers.num_speakers] > 0
        # No number on a face: the plates name each person.
        picture = draw_masks(picture, masks, numbered=False)
        anchors = [_foot(mask) for mask in masks]
    else:
        anchors = [(width // 2, height)]
    drawn = Image.fromarray(picture.numpy())
    draw = ImageDraw.Draw(drawn)
    texts = [f"{number}: {name}" for number, name in enumerate(speakers.names, 1)]
    font, pad = _font(draw, texts, width, height)
    taken: list[Box] = []
    for text, anchor, colour in zip(texts, anchors, COLOURS, strict=False):
        plate = place(_size(draw, text, font, pad), anchor, (width, height), taken)
        taken.append(plate)
        left, top, right, bottom = plate
        draw.rectangle((left, top, right - 1, bottom - 1), fill=(0, 0, 0), outline=colour, width=max(1, pad // 3))
        draw.text(((left + right) / 2, (top + bottom) / 2), text, font=font, fill=(255, 255, 255), anchor="mm")
    return torch.from_numpy(np.array(drawn))


def place(size: tuple[int, int], anchor: tuple[int, int], picture: tuple[int, int], taken: list[Box]) -> Box:
    """Where a plate of `size` (width, height) goes: above the anchor's y, about its x, inside the picture.

    Over a plate in `taken` it moves up until it is clear, or down if there is no room above. All in pixels.
    """
    wide, high = size
    left = max(0, min(anchor[0] - wide // 2, picture[0] - wide))
    lowest = max(0, picture[1] - high)
    wanted = max(0, min(anchor[1] - high, lowest))
    tops = [wanted, *range(wanted - 1, -1, -1), *range(wanted + 1, lowest + 1)]
    for top in tops:
        if all(left >= r or left + wide <= x or top >= b or top + high <= y for x, y, r, b in taken):
            return left, top, left + wide, top + high
    return left, wanted, left + wide, wanted + high


def _foot(mask: torch.Tensor) -> tuple[int, int]:
    """The middle of the mask's width and its lower edge, in pixels."""
    columns, rows = mask.any(0).nonzero(), mask.any(1).nonzero()
    return (int(columns[0] + columns[-1]) + 1) // 2, int(rows[-1]) + 1


def _font(draw: ImageDraw.ImageDraw, texts: list[str], width: int, height: int):
    """The font and the plate's padding: as large as the picture's size asks, but never wider than the picture."""
    size = min(LARGEST, max(SMALLEST, round(min(width, height) * FONT)))
    while True:
        font, pad = ImageFont.load_default(size), max(2, round(size / 3))
        if size <= 1 or all(_size(draw, text, font, pad)[0] <= width for text in texts):
            return font, pad
        size -= 1


def _size(draw: ImageDraw.ImageDraw, text: str, font, pad: int) -> tuple[int, int]:
    """Width and height of a text's plate; the height is the font's, the same for every text."""
    return int(draw.textlength(text, font=font)) + 1 + 2 * pad, int(sum(font.getmetrics())) + pad
