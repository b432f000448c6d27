"""Driving videos that do not belong together are named; a window reads its own frames and no others."""

import pytest
import torch

from custom_nodes.comfy_motion.avatar.driving import DrivingVideos
from custom_nodes.comfy_motion.clips.windows import plan_windows
from custom_nodes.comfy_motion.video.frames import Frames, TensorFrames, TensorMasks


def video(frames: int, width: int = 32, height: int = 16) -> TensorFrames:
    return TensorFrames(torch.zeros((frames, height, width, 3), dtype=torch.uint8))


def masks(frames: int, width: int = 32, height: int = 16) -> TensorMasks:
    return TensorMasks(torch.zeros((frames, height, width), dtype=torch.uint8))


GOOD = {"pose": video(9), "face": video(9, 512, 512), "background": video(9), "masks": masks(9)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"face": video(8)}, "face has 8 frames and pose has 9"),
        ({"background": video(10)}, "background has 10 frames"),
        ({"masks": masks(1)}, "masks has 1 frames"),
        ({"pose": video(9, 64, 32)}, "pose is 64x32 and width x height is 32x16"),
        ({"background": video(9, 16, 16)}, "background is 16x16"),
        ({"masks": masks(9, 32, 32)}, "masks is 32x32"),
        ({"masks": None}, "background is connected and masks is not"),
        ({"background": None}, "masks is connected and background is not"),
    ],
)
def test_the_input_that_does_not_fit_is_named(changes, words):
    with pytest.raises(ValueError, match=words):
        DrivingVideos(**GOOD | changes).check(32, 16)


def test_what_fits_is_accepted():
    DrivingVideos(**GOOD).check(32, 16)
    DrivingVideos(GOOD["pose"], GOOD["face"]).check(32, 16)


class Numbered(Frames):
    """Every pixel of frame n is n; remembers what was read."""

    def __init__(self, num_frames: int):
        self.width, self.height, self.num_frames, self.fps = 4, 2, num_frames, 24
        self.reads: list[tuple[int, int]] = []

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.check_range(start, stop)
        self.reads.append((start, stop))
        return torch.arange(start, stop, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 2, 4, 3)


@pytest.mark.parametrize("num_frames", [3, 9, 17, 40])
def test_a_window_reads_its_frames_in_order_once(num_frames):
    pose, face = Numbered(num_frames), Numbered(num_frames)
    driving = DrivingVideos(pose, face)
    for window in plan_windows(num_frames, 9, 5, "never"):
        pixels = driving.window(window)
        assert pixels.pose[:, 0, 0, 0].tolist() == window.frames
        assert pixels.face[:, 0, 0, 0].tolist() == window.frames
        assert pixels.background is None
        start, stop = pose.reads[-1]
        assert stop - start <= window.length
    assert len(pose.reads) == len(plan_windows(num_frames, 9, 5, "never"))
