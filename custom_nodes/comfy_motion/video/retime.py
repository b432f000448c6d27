"""Frames at another rate, by the time at which each is to be seen."""

from fractions import Fraction
from math import floor

import torch

from ..errors import MotionError
from .frames import Frames

# Frames of the source that are held at once: a source of 60 frames a second shown at 7 skips over most of them.
_AT_ONCE = 32


class RetimedFrames(Frames):
    """Frame k is the one of `frames` that is seen at k / fps seconds; the last one stays where `length` asks for more.

    length: seconds of the result; None = as long as `frames` are. The number of frames is length * fps rounded to the
    nearest, halves up, and at least 1. Nothing is copied or held.
    Raises MotionError invalid_value for a length that goes more than a second beyond the frames.
    """

    def __init__(self, frames: Frames, fps: Fraction, length: Fraction | None = None):
        own = frames.num_frames / frames.fps
        length = own if length is None else length
        if length <= 0 or length > own + 1:
            raise MotionError(
                "invalid_value",
                f"A length of {float(length):.3f} s is asked for, and the frames are {float(own):.3f} s.",
                "Connect the length of the video that these frames were made from, or set 0 for their own.",
            )
        self.frames, self.fps = frames, fps
        self.width, self.height = frames.width, frames.height
        self.num_frames = max(1, floor(length * fps + Fraction(1, 2)))

    def source_of(self, number: int) -> int:
        """Which of the given frames is seen in frame `number`."""
        return min(floor(number * self.frames.fps / self.fps), self.frames.num_frames - 1)

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.check_range(start, stop)
        out = torch.empty((stop - start, self.height, self.width, 3), dtype=torch.uint8)
        sources = [self.source_of(number) for number in range(start, stop)]
        at = 0
        while at < len(sources):
            first = sources[at]
            end = at + 1
            while end < len(sources) and sources[end] < first + _AT_ONCE:
                end += 1
            part = self.frames.read(first, sources[end - 1] + 1)
            out[at:end] = part[torch.tensor([source - first for source in sources[at:end]])]
            at = end
        return out
