"""The size that a picture gets, and its pixels against Pillow's."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.talk.fit_picture import AREAS, fit_picture, fitted_size

SIZES = [
    (1664, 960, "480p", (832, 480)),
    (832, 480, "480p", (832, 480)),
    (1920, 1080, "480p", (832, 464)),  # 842.6 x 473.9
    (1080, 1920, "480p", (464, 832)),
    (1000, 1000, "480p", (624, 624)),  # 631.9
    (1, 1, "480p", (624, 624)),
    (1280, 720, "720p", (1280, 720)),
    (1000, 1000, "720p", (960, 960)),
    (900, 1200, "720p", (816, 1104)),  # 831.4 x 1108.5
    (4000, 40, "480p", (6304, 64)),  # 6319.5 x 63.2
]


@pytest.mark.parametrize(("width", "height", "resolution", "expected"), SIZES)
def test_sizes_worked_out_by_hand(width, height, resolution, expected):
    assert fitted_size(width, height, resolution) == expected


@pytest.mark.parametrize("resolution", AREAS)
def test_every_shape_has_sides_of_sixteen_and_no_more_than_the_area(resolution):
    for width in range(300, 2000, 97):
        for height in range(300, 2000, 89):
            sides = fitted_size(width, height, resolution)
            assert all(side % 16 == 0 for side in sides)
            assert math.prod(sides) <= AREAS[resolution]
            assert all(math.sqrt(AREAS[resolution] * a / b) - side < 16 for side, a, b in
                       zip(sides, (width, height), (height, width), strict=True))  # fmt: skip


def test_other_resolutions_and_empty_pictures_are_refused():
    with pytest.raises(MotionError, match="480p or 720p"):
        fitted_size(100, 100, "1080p")
    with pytest.raises(MotionError, match="0x100"):
        fitted_size(0, 100, "480p")


def with_pillow(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scaled to cover and cropped as published: whole pixels above, the crop's edge rounded."""
    scale = max(width / pixels.shape[1], height / pixels.shape[0])
    size = math.ceil(scale * pixels.shape[1]), math.ceil(scale * pixels.shape[0])
    scaled = np.array(Image.fromarray(pixels).resize(size, resample=Image.BILINEAR))
    top, left = round((size[1] - height) / 2.0), round((size[0] - width) / 2.0)
    return scaled[top : top + height, left : left + width]


@pytest.mark.parametrize(("width", "height"), [(1300, 900), (333, 500), (500, 333), (641, 640)])
def test_the_pixels_are_pillows(width, height):
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels)[None].float() / 255
    fitted = fit_picture(torch.cat([image, image.flip(1)]), "480p")
    to_width, to_height = fitted_size(width, height, "480p")
    assert fitted.shape == (1, to_height, to_width, 3)
    expected = with_pillow(pixels, to_width, to_height).astype(np.float32)
    off = np.abs(fitted[0].numpy() * 255 - expected)
    assert off.max() < 1.01  # Pillow rounds after either axis
    moved = np.abs(fitted[0].numpy() * 255 - np.roll(expected, 1, axis=1))
    assert moved.mean() > 5  # a pixel to the side would have been seen


def test_a_picture_of_the_right_size_stays_as_it_is():
    image = torch.rand(1, 480, 832, 4)
    assert torch.equal(fit_picture(image, "480p"), image[..., :3])
