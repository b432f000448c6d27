"""Finished windows of a long video, on disk as soon as they are finished and read back bit for bit.

MagicYUV in planar RGB, every frame on its own. Why: measured on 1280x720 (2 shared cores; write / read in CPU
milliseconds a frame, size by raw, natural video then noise; all came back exactly):

    magicyuv, gradient       6.3 / 3.6   0.25      3.1 /  2.8   1.00
    magicyuv, left           6.3 / 4.4   0.37      3.1 /  1.6   1.00
    utvideo, median          6.6 / 9.1   0.25      4.8 / 13.7   1.00
    huffyuv                  3.8 / 7.2   0.39      6.8 / 23.6   1.57
    libx264rgb qp 0 g 12      11 /  16   0.30       34 /   40   1.56
    ffv1, bgr0, 4 slices      29 /  35   0.21       51 /   58   1.11
    raw numpy                0.9 / 0.3   1.00      1.2 /  0.4   1.00

Raw is faster, but a minute of it is 4 GB (this is 1) on a disk that a rented container has little of, and ten
milliseconds are nothing beside the seconds that sampling a frame costs.
"""

import os
from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import torch

from ..scratch import scratch_folder
from .color import merged
from .decoder import Decoder
from .frames import Frames
from .index import scan

_CODEC, _FORMAT = "magicyuv", "gbrp"
_OPTIONS = {"pred": "gradient"}


class SegmentWriter:
    """Takes finished windows one after the other; when `append` returns, the window is a file, out of memory."""

    def __init__(self, width: int, height: int, fps: Fraction, folder: Path | None = None):
        """folder: where the files go; a new scratch folder "windows" when not given."""
        self.width, self.height, self.fps = width, height, Fraction(fps)
        self.folder = folder or scratch_folder("windows")
        self.paths: list[Path] = []
        self.lengths: list[int] = []

    @property
    def num_frames(self) -> int:
        return sum(self.lengths)

    def append(self, frames: torch.Tensor) -> Path:
        """Write one window, uint8 [n, height, width, 3] with n >= 1; returns its file, whole or not there at all."""
        if frames.dtype != torch.uint8 or tuple(frames.shape[1:]) != (self.height, self.width, 3) or not len(frames):
            wanted = f"uint8 [n, {self.height}, {self.width}, 3]"
            raise ValueError(f"a window is {wanted}; this one is {frames.dtype} {list(frames.shape)}")
        path = self.folder / f"window_{len(self.paths):04d}.nut"
        part = path.with_suffix(".part")
        try:
            _write(part, frames.cpu().contiguous(), self.fps)  # a VAE's pictures come with their channels outermost
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        self.paths.append(path)
        self.lengths.append(len(frames))
        return path

    def frames(self) -> "SegmentFrames":
        """What has been written so far, as one video."""
        return SegmentFrames(self.paths, self.lengths, self.width, self.height, self.fps)


class SegmentFrames(Frames):
    """Windows on disk as one lazy video. Keeps one file open; in order, every frame is decoded once."""

    def __init__(self, paths: Sequence[Path], lengths: Sequence[int], width: int, height: int, fps: Fraction):
        self.width, self.height, self.fps = width, height, Fraction(fps)
        self.paths, self.num_frames = list(paths), sum(lengths)
        self._starts = [sum(lengths[:i]) for i in range(len(lengths))]
        self._open: tuple[int, Decoder] | None = None

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.check_range(start, stop)
        pictures = torch.empty((stop - start, self.height, self.width, 3), dtype=torch.uint8)
        out, at = pictures.numpy(), start
        while at < stop:
            window = bisect_right(self._starts, at) - 1
            first = self._starts[window]
            last = self._starts[window + 1] if window + 1 < len(self._starts) else self.num_frames
            end = min(stop, last)
            for number, frame in self._decoder(window).frames(range(at - first, end - first)):
                out[first + number - start] = merged(frame)
            at = end
        if stop == self.num_frames:
            self.close()
        return pictures

    def close(self) -> None:
        """Let go of the open file; the next `read` opens it again."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _decoder(self, window: int) -> Decoder:
        if self._open is None or self._open[0] != window:
            self.close()
            self._open = window, Decoder(scan(self.paths[window]))
        return self._open[1]


def _write(path: Path, frames: torch.Tensor, fps: Fraction) -> None:
    with av.open(str(path), mode="w", format="nut") as output:
        stream = output.add_stream(_CODEC, rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.options = _FORMAT, dict(_OPTIONS)
        stream.codec_context.time_base = 1 / fps
        for number, image in enumerate(frames.numpy()):
            picture = _planar(image)
            picture.pts, picture.time_base = number, 1 / fps
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))


def _planar(image) -> av.VideoFrame:
    """uint8 [h, w, 3] as a gbrp frame, moved only, never converted."""
    # Both are 8-bit RGB: swscale only repacks (exact, and half the time of filling the planes from numpy).
    return av.VideoFrame.from_numpy_buffer(image, format="rgb24").reformat(format=_FORMAT, threads=1)
