"""Masks on disk, one bit a pixel: 115 kB for a frame of 1280x720, read back by range."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from ..scratch import scratch_folder
from ..video.frames import Masks


def _bytes_each(width: int, height: int) -> int:
    return (width * height + 7) // 8


class DiskMasks(Masks):
    """Masks in a file of packed bits. The file is open only while `read` runs."""

    def __init__(self, path: Path, width: int, height: int, num_frames: int, fps: Fraction):
        self.path, self.width, self.height = Path(path), width, height
        self.num_frames, self.fps = num_frames, Fraction(fps)

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.check_range(start, stop)
        each = _bytes_each(self.width, self.height)
        packed = np.fromfile(self.path, np.uint8, (stop - start) * each, offset=start * each)
        bits = np.unpackbits(packed.reshape(stop - start, each), axis=1, count=self.width * self.height)
        return torch.from_numpy(bits.reshape(stop - start, self.height, self.width))


class MaskWriter:
    """Writes masks as they come, into a new scratch folder of the running prompt. Use it with `with`.

    When the block ends by an exception, the file is removed.
    """

    def __init__(self, width: int, height: int, fps: Fraction):
        self.width, self.height, self.fps = width, height, fps
        self.num_frames = 0
        self.any_seen = False  # did any mask have a pixel?

    def __enter__(self) -> "MaskWriter":
        self.path = scratch_folder("masks") / "masks.bits"
        self._file = self.path.open("wb")
        return self

    def write(self, mask: np.ndarray) -> None:
        """The next frame's mask: bool or 0/1, [height, width]."""
        self._file.write(np.packbits(mask).tobytes())
        self.any_seen |= bool(mask.any())
        self.num_frames += 1

    def __exit__(self, kind, error, trace) -> None:
        self._file.close()
        if kind is not None:
            self.path.unlink(missing_ok=True)
            self.path.parent.rmdir()

    def masks(self) -> DiskMasks:
        """What was written, once the block has ended."""
        return DiskMasks(self.path, self.width, self.height, self.num_frames, self.fps)
