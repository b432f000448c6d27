"""Reading test videos back: which numbers the frames carry, and which refusal an action ends in."""

from fractions import Fraction

import pytest

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.video.reader import VideoFrames

from .video_samples import numbers_in

SIZE = 320, 180
B_FRAMES = {"crf": "10", "preset": "veryfast", "bf": "3", "g": "12", "refs": "3"}


def frames_of(path, size=SIZE, fps=Fraction(24), **how) -> VideoFrames:
    return VideoFrames(path, *size, fps, **how)


def all_numbers(frames: VideoFrames) -> list[int]:
    return [number for chunk in frames.chunks(7) for number in numbers_in(chunk)]


def refusal(action) -> MotionError:
    with pytest.raises(MotionError) as caught:
        action()
    return caught.value
