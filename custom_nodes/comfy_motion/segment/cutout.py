"""The background video of Wan2.2 Animate: the driving video with the person blacked out."""

import torch

from ..video.frames import Frames, Masks


class CutOut(Frames):
    """Frames with every masked pixel black; computed when read.

    Raises ValueError when the masks are not as many or not as large as the frames.
    """

    def __init__(self, frames: Frames, masks: Masks):
        seen = (masks.num_frames, masks.width, masks.height)
        wanted = (frames.num_frames, frames.width, frames.height)
        if seen != wanted:
            raise ValueError("{} masks of {}x{} do not fit {} frames of {}x{}".format(*seen, *wanted))
        self.frames, self.masks = frames, masks
        self.num_frames, self.width, self.height = wanted
        self.fps = frames.fps

    def read(self, start: int, stop: int) -> torch.Tensor:
        outside = 1 - self.masks.read(start, stop)
        return self.frames.read(start, stop) * outside.unsqueeze(-1)
