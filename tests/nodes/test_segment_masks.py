"""Growing, blockifying, cutting out and keeping masks: against slow references written from the rules."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from custom_nodes.comfy_motion.segment.cutout import CutOut
from custom_nodes.comfy_motion.segment.disk import MaskWriter
from custom_nodes.comfy_motion.segment.grow import GrownMasks
from custom_nodes.comfy_motion.video.frames import TensorFrames, TensorMasks


def masks_of(*arrays: np.ndarray) -> TensorMasks:
    return TensorMasks(torch.from_numpy(np.stack(arrays).astype(np.uint8)))


def spot(height: int, width: int, *points: tuple[int, int]) -> np.ndarray:
    """A mask with single pixels (x, y) set."""
    mask = np.zeros((height, width), np.uint8)
    for x, y in points:
        mask[y, x] = 1
    return mask


def grow(mask: np.ndarray, *args, **kwargs) -> np.ndarray:
    return GrownMasks(masks_of(mask), *args, **kwargs).read(0, 1)[0].numpy()


def slow_dilate(mask: np.ndarray, reach: int) -> np.ndarray:
    grown = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        grown[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1] = 1
    return grown


def slow_blockify(mask: np.ndarray, columns: int, rows: int, whole_box: bool = False) -> np.ndarray:
    """Pixel by pixel: the cell a pixel is in, by its distance from the box's corner."""
    if not mask.any():
        return mask
    ys, xs = np.nonzero(mask)
    left, top, right, bottom = xs.min(), ys.min(), xs.max() + whole_box, ys.max() + whole_box
    if left == right or top == bottom:
        return mask
    wide, high = max(int((right - left) / columns), 1), max(int((bottom - top) / rows), 1)
    pixels = [(x, y) for y in range(top, bottom) for x in range(left, right)]
    filled = {((x - left) // wide, (y - top) // high) for x, y in pixels if mask[y, x]}
    result = mask.copy()
    for x, y in pixels:
        if ((x - left) // wide, (y - top) // high) in filled:
            result[y, x] = 1
    return result


def random_mask(seed: int) -> np.ndarray:
    """40x56: a few blobs, some touching the edge."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((40, 56), np.uint8)
    for _ in range(rng.integers(1, 4)):
        x, y = rng.integers(0, 56), rng.integers(0, 40)
        mask[y : y + rng.integers(1, 12), x : x + rng.integers(1, 12)] = 1
    return mask


def test_three_times_seven_grows_by_nine_pixels_each_way():
    grown = grow(spot(64, 64, (30, 20)), whole_box=True)
    assert grown.sum() == 19 * 19
    assert grown[20 - 9 : 20 + 10, 30 - 9 : 30 + 10].all()


@pytest.mark.parametrize("seed", range(12))
def test_dilation_is_that_of_the_whole_picture(seed):
    """The work is done near the mask only; a margin too small shows here."""
    mask = random_mask(seed)
    grown = grow(mask, 7, 3, columns=1000, rows=1000)  # cells of one pixel: blockifying changes nothing
    np.testing.assert_array_equal(grown, slow_dilate(mask, 9))


@pytest.mark.parametrize("whole_box", [False, True])
@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (2, 3), (5, 4), (10, 20), (100, 100)])
def test_blockify_follows_the_authors_grid(columns, rows, whole_box):
    for seed in range(12):
        mask = random_mask(seed)
        seen = grow(mask, 3, 1, columns, rows, whole_box=whole_box)
        wanted = slow_blockify(slow_dilate(mask, 1), columns, rows, whole_box)
        np.testing.assert_array_equal(seen, wanted, err_msg=f"seed {seed}")


def test_one_by_one_fills_the_box_but_its_last_row_and_column():
    corners = spot(20, 20, (3, 4), (12, 10))
    filled = grow(corners, kernel=1)
    assert filled[4:10, 3:12].all()
    assert filled.sum() == 6 * 9 + 1  # and the corner pixel itself stays
    assert grow(corners, kernel=1, whole_box=True).sum() == 7 * 10


@pytest.mark.parametrize(
    "mask", [spot(9, 9), spot(9, 9, (4, 4)), spot(9, 9, (2, 4), (5, 4)), spot(9, 9, (4, 1), (4, 7))]
)
def test_empty_and_thin_masks_stay_as_they_are(mask):
    np.testing.assert_array_equal(grow(mask, kernel=1), mask)


def test_empty_frames_stay_empty_among_others():
    grown = GrownMasks(masks_of(spot(40, 40), spot(40, 40, (20, 20)), spot(40, 40))).read(0, 3)
    assert [int(mask.any()) for mask in grown] == [0, 1, 0]
    assert not GrownMasks(masks_of(spot(40, 40), spot(40, 40, (20, 20)))).read(0, 1).any()


def test_growing_leaves_its_source_alone_and_reads_by_range():
    source = masks_of(*(random_mask(seed) for seed in range(5)))
    before = source.masks.clone()
    grown = GrownMasks(source)
    assert torch.equal(grown.read(0, 5)[2:4], grown.read(2, 4))
    assert torch.equal(source.masks, before)
    with pytest.raises(IndexError):
        grown.read(3, 6)
    with pytest.raises(ValueError, match="at least 1"):
        GrownMasks(source, columns=0)


def test_cut_out_blackens_the_mask_and_nothing_else():
    frames = TensorFrames(torch.randint(1, 256, (3, 9, 11, 3), dtype=torch.uint8), Fraction(25))
    masks = masks_of(spot(9, 11), spot(9, 11, (2, 3)), spot(9, 11, (10, 8)))
    cut = CutOut(frames, masks)
    seen, images = cut.read(1, 3), frames.read(1, 3)
    black = (seen == 0).all(-1)
    assert torch.equal(black.to(torch.uint8), masks.read(1, 3))
    assert torch.equal(seen[~black], images[~black])
    assert (seen.dtype, cut.fps) == (torch.uint8, 25)


@pytest.mark.parametrize("masks", [masks_of(spot(9, 11)), masks_of(spot(11, 9), spot(11, 9))])
def test_cut_out_refuses_masks_of_another_video(masks):
    with pytest.raises(ValueError, match="do not fit"):
        CutOut(TensorFrames(torch.zeros(2, 9, 11, 3, dtype=torch.uint8)), masks)


@pytest.mark.parametrize(("width", "height"), [(16, 8), (33, 17), (7, 1)])
def test_disk_masks_read_any_range(width, height):
    written = np.random.default_rng(1).random((20, height, width)) < 0.5
    with MaskWriter(width, height, Fraction(24)) as writer:
        for mask in written:
            writer.write(mask)
    masks = writer.masks()
    assert (masks.num_frames, masks.width, masks.height, masks.fps) == (20, width, height, 24)
    assert masks.path.stat().st_size == 20 * -(-width * height // 8)
    for start, stop in [(0, 20), (19, 20), (7, 11), (3, 3), (0, 1)]:
        seen = masks.read(start, stop)
        assert seen.dtype == torch.uint8
        np.testing.assert_array_equal(seen.numpy(), written[start:stop])
    with pytest.raises(IndexError):
        masks.read(5, 21)


def test_a_writer_knows_whether_anything_was_seen_and_cleans_up_after_an_error():
    with MaskWriter(4, 4, Fraction(24)) as writer:
        writer.write(spot(4, 4))
        assert not writer.any_seen
        writer.write(spot(4, 4, (1, 1)))
        writer.write(spot(4, 4))
    assert writer.any_seen
    with pytest.raises(TypeError), MaskWriter(4, 4, Fraction(24)) as broken:
        broken.write(None)
    assert not broken.path.parent.exists()
