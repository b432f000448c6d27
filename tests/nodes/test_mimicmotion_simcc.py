"""The pose model's crop and its SimCC output against cases worked out by hand."""

import numpy as np
import pytest

from custom_nodes.comfy_motion.mimicmotion.simcc import decode, pose_input, region_of


def bins(peaks: dict[int, tuple[int, int, float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of -0.5 with point: (bin x, bin y, height x, height y)."""
    x, y = np.full((1, 133, 576), -0.5, np.float32), np.full((1, 133, 768), -0.5, np.float32)
    for point, (at_x, at_y, high_x, high_y) in peaks.items():
        x[0, point, at_x], y[0, point, at_y] = high_x, high_y
    return x, y


@pytest.mark.parametrize(
    ("box", "center", "size"),
    [
        ((100, 100, 200, 500), (150, 300), (375, 500)),  # 125 x 500: widened to 3:4
        ((0, 0, 300, 100), (150, 50), (375, 500)),  # 375 x 125: made higher
        ((10, 20, 310, 420), (160, 220), (375, 500)),  # 3:4 already
    ],
)
def test_regions(box, center, size):
    region = region_of(np.array(box, dtype=np.float64))
    np.testing.assert_allclose(region.center, center)
    np.testing.assert_allclose(region.size, size)


def test_crop_takes_the_region_by_its_corners_normalised():
    """A crop at its own size: pixel (0, 0) of the region is pixel (0, 0) of the input, and outside is black."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (500, 400, 3), dtype=np.uint8)
    # 230.4 x 307.2 grows to 288 x 384; its corner is (300 - 144, 192 - 192).
    values = pose_input(picture, region_of(np.array([300 - 115.2, 192 - 153.6, 300 + 115.2, 192 + 153.6])))
    assert (values.dtype, values.shape) == (np.float32, (3, 384, 288))
    mean, deviation = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    for channel in range(3):  # RGB
        wanted = (picture[:384, 156:, channel] - mean[channel]) / deviation[channel]
        np.testing.assert_allclose(values[channel, :, :244], wanted, atol=1e-5)
        np.testing.assert_allclose(values[channel, :, 244:], -mean[channel] / deviation[channel], atol=1e-5)


def test_crop_of_half_the_size_reads_every_second_pixel():
    """By warpAffine's pixel centres: pixel (x, y) of the input is pixel (2 x, 2 y) of the region, nothing averaged."""
    picture = np.zeros((768, 576, 3), dtype=np.uint8)
    picture[::2, ::2] = 255
    values = pose_input(picture, region_of(np.array([57.6, 76.8, 518.4, 691.2])))
    np.testing.assert_allclose(values[0], (255 - 123.675) / 58.395, atol=1e-5)


def test_crop_interpolates_between_pixels():
    picture = np.zeros((384, 288, 3), dtype=np.uint8)
    picture[:, ::2] = 200  # half a pixel to the right of a column lies the mean of two
    values = pose_input(picture, region_of(np.array([29.3, 38.4, 259.7, 345.6])))
    np.testing.assert_allclose(values[0, :, :287], (100 - 123.675) / 58.395, atol=1e-5)


def test_decoding_by_hand():
    box = np.array([200.0, 100.0, 500.0, 500.0])  # region of 375 x 500 about (350, 300): corner (162.5, 50)
    x, y = bins({0: (0, 0, 0.9, 0.4), 1: (575, 767, 0.2, 0.8), 2: (288, 384, 1.1, 1.1), 3: (101, 3, 0.5, 0.0)})
    x[0, 2, 400] = 1.1  # as high again later: the first counts
    points, scores = decode(x, y, [region_of(box)])
    assert (points.dtype, points.shape, scores.shape) == (np.float64, (1, 133, 2), (1, 133))
    np.testing.assert_allclose(points[0, 0], (162.5, 50))
    # bin 575 / 2 = 287.5 of 288 pixels, 767 / 2 = 383.5 of 384
    np.testing.assert_allclose(points[0, 1], (162.5 + 375 * 287.5 / 288, 50 + 500 * 383.5 / 384))
    np.testing.assert_allclose(points[0, 2], (350, 300))
    np.testing.assert_allclose(scores[0, :3], (0.4, 0.2, 1.1), atol=1e-6)
    # A smaller maximum of 0 or less: half a pixel outside the crop, both ways; the score stays as it is.
    nowhere = (162.5 - 0.5 * 375 / 288, 50 - 0.5 * 500 / 384)
    np.testing.assert_allclose(points[0, 3:], np.tile(nowhere, (130, 1)))
    assert scores[0, 3] == 0
    assert (scores[0, 4:] == -0.5).all()


def test_each_person_has_a_region_of_its_own():
    x, y = (np.concatenate(pair) for pair in zip(bins({7: (288, 384, 1, 1)}), bins({7: (288, 384, 1, 1)}), strict=True))
    points, _ = decode(x, y, [region_of(np.array(box)) for box in ((0, 0, 30, 40), (100, 0, 130, 40))])
    np.testing.assert_allclose(points[:, 7], [(15, 20), (115, 20)])


def test_no_number_is_no_point():
    x, y = bins({0: (5, 5, np.nan, 0.5)})
    points, scores = decode(x, y, [region_of(np.array([0.0, 0.0, 30.0, 40.0]))])
    assert scores[0, 0] == 0
    np.testing.assert_array_equal(points[0, 0], points[0, 1])
