"""The reference picture's size and pixels, against torchvision's resize and centre crop and hand-worked sizes."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import functional

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.mimicmotion.reference import fit_reference, target_size, what_was_cut


def noise(width: int, height: int, seed: int = 0) -> torch.Tensor:
    """IMAGE [1, height, width, 3] of whole 8-bit values."""
    values = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    return torch.from_numpy(values).float() / 255


@pytest.mark.parametrize(
    ("resolution", "long_side"), [(576, 1024), (512, 896), (448, 768), (384, 640), (320, 512), (256, 448)]
)
def test_sizes(resolution, long_side):
    for size in ((600, 800), (800, 800), (1920, 1080)):
        assert target_size(*size, resolution) == (resolution, long_side)
    assert target_size(600, 800, resolution, "as the picture") == (resolution, long_side)
    assert target_size(800, 800, resolution, "as the picture") == (long_side, resolution)


@pytest.mark.parametrize(("resolution", "hint"), [(400, "384 or 448"), (570, "512 or 576"), (10, "64 or 128")])
def test_a_resolution_that_the_network_cannot_do_is_refused(resolution, hint):
    with pytest.raises(MotionError, match=rf"^\[invalid_value\] The resolution {resolution} .*Use {hint}"):
        target_size(600, 800, resolution)


def by_torchvision(image: torch.Tensor, width: int, height: int, antialias: bool = False) -> torch.Tensor:
    picture = (image[0] * 255).round().to(torch.uint8).movedim(-1, 0)
    ratio = picture.shape[1] / picture.shape[2]
    size = [height, math.ceil(height / ratio)] if ratio < height / width else [math.ceil(width * ratio), width]
    picture = functional.center_crop(functional.resize(picture, size, antialias=antialias), [height, width])
    return picture.movedim(0, -1)


@pytest.mark.parametrize("size", [(1080, 1920), (300, 500), (1001, 1003), (1920, 1080), (640, 640), (331, 1777)])
@pytest.mark.parametrize("orientation", ["portrait", "as the picture"])
def test_pixels_are_the_published_ones(size, orientation):
    image = noise(*size)
    wanted = target_size(*size, 256, orientation)
    fitted = fit_reference(image, 256, orientation)
    assert tuple(fitted.shape) == (1, wanted[1], wanted[0], 3)
    eight_bit = (fitted[0] * 255).round().to(torch.uint8)
    torch.testing.assert_close(eight_bit.float() / 255, fitted[0], atol=0, rtol=0)
    torch.testing.assert_close(eight_bit, by_torchvision(image, *wanted), atol=0, rtol=0)
    if size != (300, 500):
        assert (eight_bit != by_torchvision(image, *wanted, antialias=True)).any()


def test_a_picture_of_the_right_size_passes_unchanged():
    image = noise(576, 1024)
    torch.testing.assert_close(fit_reference(image, 576), image, atol=0, rtol=0)
    assert what_was_cut(image, image) == ""


def test_alpha_and_further_pictures_are_dropped():
    image = torch.cat([noise(100, 200), noise(100, 200, 1)])
    with_alpha = torch.cat([image, torch.zeros(2, 200, 100, 1)], dim=-1)
    torch.testing.assert_close(fit_reference(with_alpha, 64), fit_reference(image[:1], 64), atol=0, rtol=0)


def test_a_landscape_picture_is_cut_around_its_centre_and_that_is_said():
    image = torch.zeros(1, 90, 160, 3)
    image[:, :, 55:105] = 1  # 9:16 of 90 lines are 50.6 columns: just these
    image[:, :, 80:82] = 0.2
    fitted = fit_reference(image, 576)
    light = fitted[0, 500, :, 0] > 0.5
    assert light[:10].sum() >= 5  # 50 of 50.6 columns, 11.4 pixels each: as much missing left as right
    assert light[-10:].sum() >= 5
    assert light[280]
    assert not light[300]  # column 80 begins in the middle, at 288
    said = what_was_cut(image, fitted)
    assert said.startswith("The reference picture of 160x90 pixels was cropped around its centre to 576x1024: 32%")
    assert "height is left" in what_was_cut(torch.zeros(1, 300, 100, 3), fitted)
    assert what_was_cut(torch.zeros(1, 178, 100, 3), fitted) == ""
