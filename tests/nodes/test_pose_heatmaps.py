"""ViTPose's input and the decoding of its heatmaps against slow, independent versions in float64."""

import math

import numpy as np
import pytest

from custom_nodes.comfy_motion.pose.heatmaps import Region, decode, pose_input, region_of

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def plain_step(heatmap: np.ndarray, wrong: str = "") -> tuple[float, float]:
    """One map, DARK as the rules say: peak, 11-pixel Gaussian (sigma 2), log, Taylor step away from the borders."""
    h, w = heatmap.shape
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    if heatmap[y, x] <= 0:
        return -1.0, -1.0
    border = 0 if wrong == "border" else 1
    if not (border < x < w - 1 - border and border < y < h - 1 - border):
        return float(x), float(y)
    reach = 8 if wrong == "blur" else 5
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * (3.0 if wrong == "blur" else 2.0) ** 2))
    kernel /= kernel.sum()
    blurred = np.apply_along_axis(np.convolve, 0, heatmap.astype(np.float64), kernel, mode="same")
    blurred = np.apply_along_axis(np.convolve, 1, blurred, kernel, mode="same")
    blurred = np.maximum(blurred * (heatmap.max() / blurred.max()), 1e-10)
    f = np.pad(blurred if wrong == "log" else np.log(blurred), 2, mode="edge")
    y, x = y + 2, x + 2
    gradient = [(f[y, x + 1] - f[y, x - 1]) / 2, (f[y + 1, x] - f[y - 1, x]) / 2]
    xx = (f[y, x + 2] - 2 * f[y, x] + f[y, x - 2]) / 4
    yy = (f[y + 2, x] - 2 * f[y, x] + f[y - 2, x]) / 4
    xy = (f[y + 1, x + 1] - f[y - 1, x + 1] - f[y + 1, x - 1] + f[y - 1, x - 1]) / 4
    step = np.linalg.solve([[xx, xy], [xy, yy]], gradient)
    return x - 2 - step[0], y - 2 - step[1]


def bells(seed: int, n: int = 2, k: int = 40) -> np.ndarray:
    """Noisy Gaussians, some cut off by the border, some tilted: float32 [n, k, 64, 48]."""
    rng = np.random.default_rng(seed)
    x, y = (rng.uniform(0.5, size - 1.5, (n, k, 1, 1)) for size in (48, 64))
    x.reshape(-1)[:4], y.reshape(-1)[4:8] = [1.1, 45.2, 46.1, 2.2], [1.1, 61.2, 62.1, 2.2]
    dx, dy = np.arange(48) - x, np.arange(64)[:, None] - y
    tilt = rng.uniform(-0.5, 0.5, (n, k, 1, 1))
    maps = np.exp(-(dx**2 + dy**2 + tilt * dx * dy) / 8) + rng.uniform(0, 0.01, (n, k, 64, 48))
    return maps.astype(np.float32)


MAP = Region(np.array([24.0, 32.0]), np.array([48.0, 64.0]))  # a region in which picture and heatmap pixels agree


def test_decoding_follows_the_rules():
    maps = bells(0)
    points, scores = decode(maps, [MAP, MAP])
    wanted = [[plain_step(one) for one in person] for person in maps]
    np.testing.assert_allclose(points, wanted, atol=2e-5)
    np.testing.assert_array_equal(scores, maps.max(axis=(2, 3)))


@pytest.mark.parametrize("wrong", ["log", "blur", "border"])
def test_a_wrong_decoding_is_noticed(wrong):
    maps = bells(0)
    points, _ = decode(maps, [MAP, MAP])
    wanted = np.array([[plain_step(one, wrong) for one in person] for person in maps])
    assert np.abs(points - wanted).max() > 1e-3


def test_points_land_in_the_picture_through_the_unrounded_region():
    region = Region(np.array([333.25, 200.75]), np.array([120.5, 160.5]))
    maps = bells(1, n=1)
    near, far = decode(maps, [MAP])[0], decode(maps, [region])[0]
    np.testing.assert_allclose(far, near * region.size / (48, 64) + region.center - region.size / 2, rtol=1e-5)


def test_an_empty_map_gives_no_point_and_flat_ones_no_step():
    maps = np.zeros((1, 3, 64, 48), np.float32)
    maps[0, 1], maps[0, 2, 30] = 0.25, 0.5  # flat; a ridge: no curvature along x
    points, scores = decode(maps, [MAP])
    np.testing.assert_array_equal(points[0, 0], [-1, -1])
    np.testing.assert_array_equal(scores[0], [0, 0.25, 0.5])
    assert np.isfinite(points).all()


def test_region_is_three_to_four_and_a_quarter_wider():
    tall = region_of(np.array([100, 50, 140, 210, 0.9]), 640, 360)
    np.testing.assert_allclose([*tall.center, *tall.size], [120, 130, 150, 200])
    wide = region_of(np.array([0, 100, 300, 150, 0.9]), 640, 360)
    np.testing.assert_allclose(wide.size, [375, 500])
    whole = [320, 180, 640 * 1.25, 640 * 4 / 3 * 1.25]
    for box in ([0, 0, 640, 360, -1], [5, 5, 14, 300, 0.9], [5, 5, 300, 14, 0.9], [5, 5, 300, 300, 0]):
        found = region_of(np.array(box, float), 640, 360)
        np.testing.assert_allclose([*found.center, *found.size], whole)


def plain_input(picture: np.ndarray, box: tuple, wrong: str = "") -> np.ndarray:
    """Crop pixel by pixel: 3:4, 1.25, zero outside, bilinear between pixel centres, BGR with RGB's mean."""
    x1, y1, x2, y2 = box
    side = max((x2 - x1) * 4 / 3, y2 - y1) * 1.25
    left, top = (round(c - s / 2) for c, s in (((x1 + x2) / 2, side * 0.75), ((y1 + y2) / 2, side)))
    right, bottom = (round(c + s / 2) for c, s in (((x1 + x2) / 2, side * 0.75), ((y1 + y2) / 2, side)))
    pad = 2000
    around = ((pad, pad), (pad, pad), (0, 0))
    padded = np.pad(picture.astype(np.float64), around, mode="edge" if wrong == "edge" else "constant")
    crop = padded[top + pad : bottom + pad, left + pad : right + pad]
    if wrong != "rgb":
        crop = crop[..., ::-1]
    rows, columns = ((np.arange(n) + 0.5) * size / n - 0.5 for n, size in ((256, bottom - top), (192, right - left)))
    mix = []
    for places, size in ((rows, bottom - top), (columns, right - left)):
        places = np.clip(places, 0, size - 1)
        low = np.minimum(places.astype(int), max(size - 2, 0))
        mix.append((low, np.minimum(low + 1, size - 1), places - low))
    (r0, r1, rw), (c0, c1, cw) = mix
    rw, cw = rw[:, None, None], cw[None, :, None]
    upper, lower = (crop[r][:, c0] * (1 - cw) + crop[r][:, c1] * cw for r in (r0, r1))
    return (((upper * (1 - rw) + lower * rw) / 255 - MEAN) / DEVIATION).transpose(2, 0, 1)


@pytest.mark.parametrize("box", [(200, 100, 260, 300), (-30, 200, 90, 380), (500, 10, 700, 120), (101, 33, 204, 170)])
def test_input_follows_the_rules(box):
    picture = np.random.default_rng(2).integers(0, 256, (360, 640, 3), dtype=np.uint8)
    got = pose_input(picture, region_of(np.array([*box, 0.9]), 640, 360))
    assert (got.dtype, got.shape) == (np.float32, (3, 256, 192))
    np.testing.assert_allclose(got, plain_input(picture, box), atol=2e-4)
    assert np.abs(got - plain_input(picture, box, "rgb")).max() > 0.5
    if box[0] < 0 or box[3] > 300:
        assert np.abs(got - plain_input(picture, box, "edge")).max() > 0.5


def test_a_box_outside_the_picture_gives_black():
    picture = np.full((36, 64, 3), 255, np.uint8)
    got = pose_input(picture, region_of(np.array([500, 500, 530, 540, 0.9]), 64, 36))
    assert math.isclose(float(got.max()), max(-m / d for m, d in zip(MEAN, DEVIATION, strict=True)), rel_tol=1e-5)
