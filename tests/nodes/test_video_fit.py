"""fit.py: nothing is distorted, nothing lies outside, and the letterbox is the published one."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.video.fit import fitted, place

sides = st.integers(2, 4000)


@given(width=sides, height=sides, target=st.tuples(sides, sides))
def test_pad_shows_everything_undistorted_and_touches_two_sides(width, height, target):
    spot = place((width, height), target)
    assert spot.source_size == (width, height)
    assert target[0] in spot.target_size[:1] or target[1] in spot.target_size[1:]
    for size, at, full in zip(spot.target_size, spot.target_at, target, strict=True):
        assert 1 <= size <= full
        assert at == (full - size) // 2
    # Both scales are the same to less than a pixel.
    scale = min(Fraction(target[0], width), Fraction(target[1], height))
    assert spot.target_size[0] <= width * scale or spot.target_size[0] == 1
    assert width * scale - spot.target_size[0] < 1
    assert height * scale - spot.target_size[1] < 1


@given(width=sides, height=sides, target=st.tuples(sides, sides))
def test_crop_fills_everything_undistorted_from_the_middle(width, height, target):
    spot = place((width, height), target, "crop")
    assert spot.target_size == target
    assert spot.source_size[0] == width or spot.source_size[1] == height
    for size, at, full in zip(spot.source_size, spot.source_at, (width, height), strict=True):
        assert 1 <= size <= full
        assert at == (full - size) // 2
    wanted = Fraction(*target)
    cut = spot.source_size
    assert abs(cut[0] - cut[1] * wanted) <= max(1, wanted)


def test_anamorphic_pixels_are_widened():
    """PAL DV in 16:9: 720x576 pixels that are 64:45 wide."""
    assert place((720, 576), (1024, 576), "pad", Fraction(64, 45)).target_size == (1024, 576)
    assert place((720, 576), (1024, 576), "crop", Fraction(64, 45)).source_size == (720, 576)


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_the_right_size_is_left_alone(fit):
    image = np.random.default_rng(0).integers(0, 256, (72, 128, 3), np.uint8)
    result = fitted(image, (128, 72), place((128, 72), (128, 72), fit))
    assert np.shares_memory(result, image)


def test_pad_puts_black_bars_around_and_rounds_the_first_down():
    image = np.full((10, 10, 3), 200, np.uint8)
    result = fitted(image, (13, 10), place((10, 10), (13, 10)))
    columns = result.max((0, 2))
    assert columns.tolist() == [0] + [200] * 10 + [0] * 2


def test_crop_takes_the_middle():
    image = np.repeat(np.arange(20, dtype=np.uint8)[None, :, None], 10, 0).repeat(3, 2)
    result = fitted(image, (10, 10), place((20, 10), (10, 10), "crop"))
    assert result[0, :, 0].tolist() == list(range(5, 15))


def test_an_unknown_fit_is_refused():
    with pytest.raises(ValueError, match="stretch"):
        place((10, 10), (10, 10), "stretch")
