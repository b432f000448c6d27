"""A clip in the colours of the picture it went on from."""

import cv2
import numpy as np
import torch

from ..errors import MotionError
from ..video.colour_match import ColourMatch, match
from ..video.frames import Frames, to_float, to_uint8


def match_colour(frames: Frames, reference: torch.Tensor, strength: float) -> Frames:
    """`frames` with one gain and offset a channel, lazily; strength 0 gives `frames` themselves.

    reference: IMAGE float [n, h, w, 3 or more], of which the first is the moment that frame 0 shows as well: a clip
    that starts from the last frame of the one before shows it as its first. The difference between the two is
    measured now, from frame 0 alone, and applied to every frame when it is read.
    Raises MotionError invalid_value for a reference of another size (scaling would change what is measured) and
    for a strength outside 0..1.
    """
    if not 0.0 <= strength <= 1.0:
        raise MotionError("invalid_value", f"strength is {strength:g}; it can be from 0 (off) to 1 (full).")
    if strength == 0.0:
        return frames
    height, width = reference.shape[1:3]
    if (width, height) != (frames.width, frames.height):
        raise MotionError(
            "invalid_value",
            f"The reference is {width}x{height} pixels and the frames are {frames.width}x{frames.height}; colours "
            "can be measured only where both show the same moment at the same size.",
            "Connect the frame that the clip was started from, or set strength to 0.",
        )
    first = to_float(frames.read(0, 1))
    return ColourMatched(frames, match(first, reference[:1, ..., :3].to(first), strength))


class ColourMatched(Frames):
    """Frames under a colour match, through a table of the 256 values of each channel."""

    def __init__(self, frames: Frames, change: ColourMatch):
        self.frames, self.change = frames, change
        self.width, self.height, self.num_frames, self.fps = frames.width, frames.height, frames.num_frames, frames.fps
        values = torch.arange(256, dtype=torch.uint8)[:, None].expand(256, 3)
        self._table = to_uint8(change.apply_(to_float(values)[None]))[0].numpy()[:, None]

    def read(self, start: int, stop: int) -> torch.Tensor:
        images = self.frames.read(start, stop).numpy()
        changed = np.empty_like(images)
        for image, out in zip(images, changed, strict=True):
            cv2.LUT(image, self._table, dst=out)
        return torch.from_numpy(changed)
