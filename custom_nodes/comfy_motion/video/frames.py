"""Videos and masks that are read piece by piece: the types that flow between our nodes.

Nothing here holds a whole video. A `Frames` or `Masks` object knows its size and reads any range on demand;
derived ones (drawn poses, crops, cut-outs) compute their pixels from what they were made of.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Protocol

import torch


class _Lazy(ABC):
    """What frames and masks share: a size, a length, a rate, and reading by range."""

    width: int
    height: int
    num_frames: int
    fps: Fraction

    @abstractmethod
    def read(self, start: int, stop: int) -> torch.Tensor:
        """The frames start..stop-1 on the CPU. Raises IndexError outside 0..num_frames."""

    def chunks(self, size: int = 16) -> Iterator[torch.Tensor]:
        """All frames in order, `size` at a time."""
        for start in range(0, self.num_frames, size):
            yield self.read(start, min(start + size, self.num_frames))

    def check_range(self, start: int, stop: int) -> None:
        """Raises IndexError unless 0 <= start <= stop <= num_frames."""
        if not 0 <= start <= stop <= self.num_frames:
            raise IndexError(f"frames {start}..{stop} of a video that has {self.num_frames}")


class Frames(_Lazy):
    """A lazy RGB video; `read` gives uint8 [n, height, width, 3]."""


class Masks(_Lazy):
    """A lazy mask video; `read` gives uint8 [n, height, width], 1 inside and 0 outside."""


class TensorFrames(Frames):
    """Frames that are in memory already: uint8 [n, h, w, 3]."""

    def __init__(self, images: torch.Tensor, fps: Fraction = Fraction(24)):
        self.images, self.fps = images, Fraction(fps)
        self.num_frames, self.height, self.width = images.shape[:3]

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.check_range(start, stop)
        return self.images[start:stop]


class TensorMasks(Masks):
    """Masks that are in memory already: uint8 [n, h, w] of 0 and 1."""

    def __init__(self, masks: torch.Tensor, fps: Fraction = Fraction(24)):
        self.masks, self.fps = masks, Fraction(fps)
        self.num_frames, self.height, self.width = masks.shape

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.check_range(start, stop)
        return self.masks[start:stop]


def to_float(frames: torch.Tensor) -> torch.Tensor:
    """uint8 [n, h, w, 3] to ComfyUI's IMAGE: float32 0..1."""
    return frames.to(torch.float32) / 255.0


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """ComfyUI's IMAGE, float 0..1, to uint8 by rounding; alpha is dropped."""
    return (images[..., :3].clamp(0, 1) * 255.0).round().to(torch.uint8).cpu()


def to_uint8_by_pieces(images: torch.Tensor, size: int = 8) -> torch.Tensor:
    """`to_uint8` of many frames [n, h, w, 3], `size` at a time: no second float copy of all of them."""
    finished = torch.empty((*images.shape[:3], 3), dtype=torch.uint8)
    for start in range(0, len(images), size):
        finished[start : start + size] = to_uint8(images[start : start + size])
    return finished


class Writer(Protocol):
    """Where finished windows go (video.segments.SegmentWriter)."""

    def append(self, frames: torch.Tensor) -> Any:
        """The next window, uint8 [n, h, w, 3]; on disk when this returns."""

    def frames(self) -> Frames:
        """Everything appended so far, to be read lazily."""
        ...
