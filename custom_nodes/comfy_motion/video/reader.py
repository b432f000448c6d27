"""A video file as lazy frames: any rate, range and size, read by seeking, never held whole."""

import threading
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from .color import Orientation, ToRgb, orientation_of, turned
from .decoder import Decoder
from .fit import fitted, place
from .frames import Frames
from .index import scan
from .timeline import Timeline, resample

# Finished pictures that are kept for whoever reads the same stretch next: the windows' overlap, and a second reader
# that follows the first chunk by chunk. 64 MiB are 24 frames of 1280x720.
_KEEP_BYTES = 64 * 2**20
_KEEP_AT_LEAST = 8


class VideoFrames(Frames):
    """A part of a video file, resampled to `fps` and fitted to width x height.

    One pass over the file's packets when made (no decoding); the file is opened at the first `read`, and let go after
    the last frame or by `close`, from which it recovers. Frames that repeat (a slower source) are decoded once.
    Raises MotionError video_unreadable here or in `read`, and what `timeline.resample` refuses.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        fps: Fraction,
        fit: str = "pad",
        start_time: Fraction = Fraction(0),
        end_time: Fraction | None = None,
        trim_start: Fraction = Fraction(0),
        trim_length: Fraction | None = None,
    ):
        """width, height: pixels; 0 = the video's own size as it is seen, upright and with square pixels.
        start_time, end_time: seconds from trim_start; None = to the end.
        trim_start, trim_length: the part of the file that counts as the video at all, seconds; None = all the rest.
        """
        self.path, self.fit, self.fps = str(path), fit, fps
        place((2, 2), (2, 2), fit)  # an unknown fit is refused now, not at the first read
        self.index = scan(path)
        self._trim_start = trim_start
        times = [time - trim_start for time in self.index.times]
        rest = max(Fraction(0), self.index.duration - trim_start)
        duration = rest if trim_length is None else min(rest, trim_length)
        self.timeline: Timeline = self._planned(times, duration, start_time, end_time)
        self.fps, self.num_frames = self.timeline.fps, self.timeline.num_frames
        self._decoder = Decoder(self.index)
        self._to_rgb = ToRgb()
        self._orientation: Orientation | None = None
        self.width, self.height = (width, height) if width and height else self._own_size()
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._room = max(_KEEP_AT_LEAST, _KEEP_BYTES // (self.width * self.height * 3))
        self._lock = threading.Lock()

    def _planned(
        self, times: list[Fraction], duration: Fraction, start_time: Fraction, end_time: Fraction | None
    ) -> Timeline:
        """Which source frames these are; `self.fps` is the rate asked for. Another choice is a subclass's."""
        return resample(times, duration, self.fps, start_time, end_time)

    @property
    def source_range(self) -> tuple[Fraction, Fraction]:
        """Start and end of these frames in seconds on the file's own clock, which its sound shares."""
        zero = self.index.origin + self._trim_start
        return zero + self.timeline.start, zero + self.timeline.end

    @property
    def frames_decoded(self) -> int:
        """How many source frames the codec has given so far: what reading really cost."""
        return self._decoder.decoded

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.check_range(start, stop)
        pictures = torch.empty((stop - start, self.height, self.width, 3), dtype=torch.uint8)
        out = pictures.numpy()
        places: dict[int, list[int]] = {}
        for i, number in enumerate(self.timeline.indices[start:stop]):
            places.setdefault(number, []).append(i)
        with self._lock:
            for number in places.keys() & self._kept.keys():
                self._kept.move_to_end(number)
                out[places.pop(number)] = self._kept[number]
            for number, frame in self._decoder.frames(sorted(places)):
                picture = self._finished(frame)
                out[places[number]] = picture
                self._keep(number, picture)
            if stop == self.num_frames:
                self._decoder.close()
        return pictures

    def close(self) -> None:
        """Let go of the file and of the pictures kept."""
        with self._lock:
            self._decoder.close()
            self._kept.clear()

    def _own_size(self) -> tuple[int, int]:
        """Width and height as the video is seen; its first frame is decoded for it."""
        (_, frame), *_ = self._decoder.frames([0])
        self._decoder.close()
        width, height = frame.width, frame.height
        if self._turn_of(frame).swap:
            width, height = height, width
        return max(1, round(width * self._pixel_aspect(frame))), height

    def _turn_of(self, frame) -> Orientation:
        if self._orientation is None:
            self._orientation = orientation_of(frame)
        return self._orientation

    def _pixel_aspect(self, frame) -> Fraction:
        """Width of an upright picture's pixel by its height."""
        return 1 / self.index.pixel_aspect if self._turn_of(frame).swap else self.index.pixel_aspect

    def _finished(self, frame) -> np.ndarray:
        """A decoded frame upright, in RGB, at this video's size."""
        image = turned(self._to_rgb(frame), self._turn_of(frame))
        aspect = self._pixel_aspect(frame)
        height, width = image.shape[:2]
        size = self.width, self.height
        return fitted(image, size, place((width, height), size, self.fit, aspect))

    def _keep(self, number: int, picture: np.ndarray) -> None:
        self._kept[number] = picture
        while len(self._kept) > self._room:
            self._kept.popitem(last=False)
