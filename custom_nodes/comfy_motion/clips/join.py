"""Two videos one after the other as one, without copying either."""

import torch

from ..errors import MotionError
from ..video.frames import Frames


class JoinedFrames(Frames):
    """`first`, then `second` from its frame `drop` on, at first's rate.

    Raises MotionError invalid_value for unequal sizes and for a drop that leaves nothing of `second`.
    """

    def __init__(self, first: Frames, second: Frames, drop: int = 0):
        if (first.width, first.height) != (second.width, second.height):
            raise MotionError(
                "invalid_value",
                f"The first frames are {first.width}x{first.height} pixels and the second ones "
                f"{second.width}x{second.height}; only frames of one size can be joined.",
                "Generate both at the same width and height.",
            )
        if not 0 <= drop < second.num_frames:
            raise MotionError(
                "invalid_value",
                f"drop is {drop} and the second frames are {second.num_frames}: nothing of them would be left.",
                f"Choose a drop from 0 to {second.num_frames - 1}.",
            )
        self.first, self.second, self.drop = first, second, drop
        self.width, self.height, self.fps = first.width, first.height, first.fps
        self.num_frames = first.num_frames + second.num_frames - drop

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.check_range(start, stop)
        seam, shift = self.first.num_frames, self.drop - self.first.num_frames
        if stop <= seam:
            return self.first.read(start, stop)
        if start >= seam:
            return self.second.read(start + shift, stop + shift)
        return torch.cat([self.first.read(start, seam), self.second.read(self.drop, stop + shift)])
