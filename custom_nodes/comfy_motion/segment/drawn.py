"""Masks as pictures: PNG files, and drawn over the image for people to look at."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

# Far apart in hue and clear on most pictures; after the last, the first comes again. RGB.
COLOURS = [(230, 60, 60), (60, 140, 255), (70, 200, 90), (250, 190, 40), (180, 90, 230), (40, 210, 210)]
OPACITY = 0.45


def write_masks(masks: torch.Tensor, paths: list[Path], metadata: Mapping[str, str] | None = None) -> None:
    """Writes masks, [n, h, w] of 0..1, as 8-bit grey PNGs: 255 where above one half, else 0.

    metadata: text chunks. Several files at a time: compressing, most of the work, does not hold Python's lock.
    """
    chunks = PngInfo()
    for key, value in (metadata or {}).items():
        chunks.add_text(key, value)

    def write(mask: np.ndarray, path: Path) -> None:
        # numpy and not torch: each thread that computes in torch would bring a team of its own.
        grey = (mask > 0.5).view(np.uint8) * np.uint8(255)
        # Level 1: a third faster than the default for a few kilobytes more.
        Image.fromarray(grey).save(path, "PNG", compress_level=1, pnginfo=chunks)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(write, masks.float().cpu().numpy(), paths))


def draw_masks(picture: torch.Tensor, masks: torch.Tensor, numbered: bool = True) -> torch.Tensor:
    """A picture, uint8 [h, w, 3], with the masks, bool [n, h, w], tinted and outlined; `numbered`: from 1."""
    drawn = picture.numpy().copy()
    height, width = drawn.shape[:2]
    thick = max(2, round(max(height, width) / 500))
    for number, mask in enumerate(masks.numpy().astype(np.uint8)):
        colour = np.array(COLOURS[number % len(COLOURS)], np.float32)
        inside = mask.astype(bool)
        drawn[inside] = (drawn[inside] * (1 - OPACITY) + colour * OPACITY).round().astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines, -1, colour.tolist(), thick)
    for number, mask in enumerate(masks.numpy().astype(np.uint8), 1):
        if numbered and mask.any():
            _write_number(drawn, mask, str(number), thick)
    return torch.from_numpy(drawn)


def _write_number(drawn: np.ndarray, mask: np.ndarray, text: str, thick: int) -> None:
    """White on black, in the middle of the mask's widest part, in place."""
    # A border of zeros, so that the picture's own edge counts as one.
    depth = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, thick / 2, thick)
    place = (int(x) - width // 2, int(y) + height // 2)
    for colour, stroke in (((0, 0, 0), 3 * thick), ((255, 255, 255), thick)):
        cv2.putText(drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, thick / 2, colour, stroke, cv2.LINE_AA)
