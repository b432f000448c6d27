"""SVD's frames back in their picture: black stays to the bit, deep white is the frame, and all lies where it was."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.svd.composite import CompositeFrames, check_mask, feathered
from custom_nodes.comfy_motion.svd.framing import centre_crop, framed
from custom_nodes.comfy_motion.video.frames import TensorFrames, to_uint8

SIZES = [(64, 36), (80, 80), (121, 67), (67, 121), (160, 50)]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def picture(width: int, height: int) -> torch.Tensor:
    return noise(1, height, width, 3, seed=9).float() / 255


def video(width: int = 64, height: int = 36, frames: int = 5) -> TensorFrames:
    return TensorFrames(noise(frames, height, width, 3, seed=3), Fraction(6))


def mask_of(width: int, height: int, *boxes: tuple[int, int, int, int]) -> torch.Tensor:
    mask = torch.zeros(1, height, width)
    for left, top, right, bottom in boxes:
        mask[:, top:bottom, left:right] = 1
    return mask


def blobs(width: int, height: int) -> torch.Tensor:
    """A mask with round and ragged edges all over the picture, some pixels alone."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    wave = torch.sin(x / 7) + torch.cos(y / 5) + (noise(height, width, seed=4).float() / 255 - 0.5)
    return (wave > 0.2).float()[None]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("feather", [0, 3, 16])
def test_black_is_the_still_picture_in_every_frame_and_deep_white_is_the_video(size, feather):
    """At the picture's own size; where the video has no pixels, left or above, the picture stands still too."""
    image, mask, frames = picture(*size), blobs(*size), video()
    result = CompositeFrames(frames, image, mask, (0, 0), feather)
    width, height = (side - side % 2 for side in size)
    assert (result.width, result.height, result.num_frames, result.fps) == (width, height, 5, Fraction(6))
    still, got = to_uint8(image)[0, :height, :width], result.read(0, 5)
    left, top, crop_width, crop_height = centre_crop(size, (64, 36))
    outside = mask[0] == 0
    outside[:top] = outside[top + crop_height :] = True
    outside[:, :left] = outside[:, left + crop_width :] = True
    assert outside[:height, :width].any()
    assert torch.equal(got[:, outside[:height, :width]], still[outside[:height, :width]].expand(5, -1, -1))
    whole = CompositeFrames(frames, image, torch.ones_like(mask), (0, 0), 0).read(0, 5)
    distance = slow_distance(outside.numpy())[:height, :width]
    deep = torch.from_numpy(distance > max(feather, 1))
    difference = (got[:, deep].int() - whole[:, deep].int()).abs()
    assert (difference > 1).sum() == 0  # 1: Pillow rounds a part of a frame otherwise than the whole, here and there
    assert (difference > 0).sum() <= 0.01 * difference.numel()
    assert torch.equal(torch.cat([result.read(0, 2), result.read(2, 5)]), got)


def slow_distance(outside: np.ndarray) -> np.ndarray:
    """To the nearest pixel of `outside`, each pixel against each."""
    zeros, columns = np.argwhere(outside), np.arange(outside.shape[1])
    rows = [(zeros[:, :1] - y) ** 2 + (zeros[:, 1:] - columns) ** 2 for y in range(len(outside))]
    return np.stack([np.sqrt(row.min(0)) for row in rows])


def test_a_video_of_the_pictures_own_size_is_put_back_unchanged():
    frames = video()
    result = CompositeFrames(frames, picture(64, 36), torch.ones(1, 36, 64), (0, 0), 16)
    assert torch.equal(result.read(0, 5), frames.images)


def test_the_edge_is_soft_and_lies_inside_the_mask():
    """Black frames on a white picture: the brightness is one minus the weight."""
    frames = TensorFrames(torch.zeros(1, 36, 64, 3, dtype=torch.uint8))
    mask = mask_of(64, 36, (16, 0, 64, 36))
    row = CompositeFrames(frames, torch.ones(1, 36, 64, 3), mask, (0, 0), 8).read(0, 1)[0, 18, :, 0].int()
    assert row[:16].eq(255).all()
    assert row[16] < 255
    assert row[24:].eq(0).all()  # to the picture's right edge, which is no edge of the mask
    assert (row[15:24].diff() < 0).all()
    assert row[15:24].diff().abs().max() < 64


@pytest.mark.parametrize("target", [(1024, 576), (576, 1024), (64, 64)])
@pytest.mark.parametrize("source", SIZES)
def test_what_svd_sees_goes_back_to_where_it_came_from(source, target):
    """A smooth picture, framed as the model sees it and put back, is the picture; a pixel aside it is not."""
    width, height = source
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    wave = torch.stack([torch.sin(9 * x + 2 * y), torch.sin(8 * y - x), torch.cos(7 * x * y)], -1)[None] / 2 + 0.5
    seen = TensorFrames(to_uint8(framed(wave, *target, antialias=True)))
    back = CompositeFrames(seen, wave, torch.ones(1, height, width), (0, 0), 0)
    got, still = back.read(0, 1)[0].int(), to_uint8(wave)[0, : back.height, : back.width].int()
    left, top, crop_width, crop_height = centre_crop(source, target)
    rows, columns = slice(top + 2, top + crop_height - 3), slice(left + 2, left + crop_width - 3)
    error = (got - still)[rows, columns].abs().float().mean()
    moved = [(got - still.roll(step, axis))[rows, columns].abs().float().mean() for step in (1, -1) for axis in (0, 1)]
    assert error < 1.5
    assert min(moved) > 1.5 * error


@pytest.mark.parametrize("size", [(120, 68), (40, 22)])
def test_another_size_scales_the_picture_the_mask_and_the_place_of_the_video(size):
    image, mask = picture(80, 45), mask_of(80, 45, (21, 11, 60, 34))
    grey = TensorFrames(torch.full((2, 36, 64, 3), 128, dtype=torch.uint8))
    result = CompositeFrames(grey, image, mask, size, 0)
    still = torch.from_numpy(
        np.asarray(Image.fromarray(to_uint8(image)[0].numpy()).resize(size, Image.Resampling.LANCZOS)).copy()
    )
    assert (result.width, result.height) == size
    got = result.read(1, 2)[0]
    for y, x in itertools.product(range(size[1]), range(size[0])):
        rows = slice(y * 45 // size[1], -(-(y + 1) * 45 // size[1]))
        under = mask[0, rows, x * 80 // size[0] : -(-(x + 1) * 80 // size[0])]
        assert torch.equal(got[y, x], still[y, x]) or (under.all() and (got[y, x] == 128).all()), (x, y)
    moving = (got == 128).all(-1).nonzero()
    scale = size[0] / 80
    assert abs(moving[:, 1].min() - 21 * scale) < 1
    assert abs(moving[:, 1].max() + 1 - 60 * scale) < 1


def test_reading_a_long_video_takes_a_few_frames_at_a_time():
    class Counting(TensorFrames):
        most = 0

        def read(self, start, stop):
            self.most = max(self.most, stop - start)
            return super().read(start, stop)

    frames = Counting(noise(40, 36, 64, 3), Fraction(6))
    result = CompositeFrames(frames, picture(64, 36), torch.ones(1, 36, 64), (0, 0), 4)
    assert sum(len(chunk) for chunk in result.chunks(8)) == 40
    assert frames.most == 8
    with pytest.raises(IndexError):
        result.read(39, 41)


def refusal(image: torch.Tensor, mask: torch.Tensor, frame_size=None) -> MotionError:
    with pytest.raises(MotionError) as caught:
        check_mask(image, mask, frame_size)
    return caught.value


def test_a_mask_that_cannot_be_meant_is_refused():
    image = picture(64, 64)
    refused = refusal(image, torch.ones(1, 64, 60))
    assert (refused.code, "60x64" in refused.message, "64x64" in refused.message) == ("mask_mismatch", True, True)
    assert refusal(image, torch.zeros(1, 64, 64)).code == "empty_mask"
    assert refusal(image, torch.full((1, 64, 64), 0.4)).code == "empty_mask"
    sky = mask_of(64, 64, (0, 0, 64, 12))
    check_mask(image, sky)
    refused = refusal(image, sky, (64, 36))
    assert (refused.code, "64x36 of 64x64" in refused.message) == ("empty_mask", True)
    with pytest.raises(MotionError, match="only at the picture's rim"):
        CompositeFrames(video(), image, sky, (0, 0), 4)
    with pytest.raises(MotionError, match="finer than a pixel"):
        CompositeFrames(video(), image, mask_of(64, 64, (30, 30, 31, 31)), (16, 16), 4)


def test_feather_of_one_or_none_is_a_hard_edge():
    moving = mask_of(20, 10, (5, 0, 20, 10))[0].bool().numpy()
    for feather in (0, 1):
        assert np.array_equal(feathered(moving, feather), moving.astype(np.float32))
