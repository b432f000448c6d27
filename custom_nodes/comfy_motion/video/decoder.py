"""Decoded frames of one file by number, going forward where possible."""

from collections.abc import Iterator, Sequence
from os import cpu_count
from typing import cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from .index import VideoIndex, only, open_container, reason, unreadable

# Each frame-decoding thread holds a picture and adds a frame of delay after every seek; beyond 8 nothing is gained.
_MAX_THREADS = 8
# How many frames may be decoded and dropped rather than seeking: less than a seek's own flush and restart costs.
_SKIP = 8


class Decoder:
    """Opens the file at the first request and stays where it is, so that reading in order decodes every frame once."""

    def __init__(self, index: VideoIndex):
        self._index = index
        self._container: InputContainer | None = None
        self._coming: Iterator[tuple[int, av.VideoFrame]] = iter(())
        self._last = -1  # number of the frame that came last
        self.decoded = 0  # frames that came out of the codec so far, for tests and the benchmark

    def frames(self, numbers: Sequence[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """The frames with these numbers (rising). Raises MotionError video_unreadable."""
        for number in numbers:
            yield number, self._frame(number)

    def close(self) -> None:
        """Let go of the file and the codec's memory; the next request opens it again."""
        self._coming = iter(())
        if self._container is not None:
            self._container.close()
            self._container = None

    def _frame(self, number: int) -> av.VideoFrame:
        try:
            if self._is_ahead(number):
                frame = self._forward_to(number)
                if frame is not None:
                    return frame
            # The nearest start can land late (some indexes lie): then the one before it, and at last the first.
            starts = list(self._index.starts_for(number))
            for key in dict.fromkeys([*starts[:2], self._index.keys[0]]):
                self._restart(key)
                frame = self._forward_to(number)
                if frame is not None:
                    return frame
        except FFmpegError as error:
            self.close()
            raise self._broken(number, reason(error)) from error
        self.close()
        raise self._broken(number, "its picture does not come out of the decoder")

    def _is_ahead(self, number: int) -> bool:
        """Whether decoding on from here is the cheapest way to a frame."""
        if self._container is None or number <= self._last:
            return False
        nearest = next(self._index.starts_for(number), (0, 0))[0]
        return nearest <= self._last + _SKIP

    def _forward_to(self, number: int) -> av.VideoFrame | None:
        """Decode on until this frame; None when it was passed over or the file ended."""
        for came, frame in self._coming:
            self._last = came
            if came == number:
                return frame
            if came > number:
                return None
        return None

    def _restart(self, key: tuple[int, int]) -> None:
        number, time = key
        if number == 0:  # a fresh start needs no seek, which not every format can do
            self.close()
        if self._container is None:
            self._container = open_container(self._index.path)
        stream = cast(VideoStream, self._container.streams[self._index.stream])
        if not stream.codec_context.is_open:
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = min(cpu_count() or 1, _MAX_THREADS)
        only(self._container, stream)
        if number:
            self._container.seek(time, stream=stream)
        self._last = -1
        self._coming = self._numbered(self._container.decode(stream))

    def _numbered(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Pair decoded frames with their numbers; pictures that are never shown are dropped."""
        for count, frame in enumerate(frames):
            self.decoded += 1
            if self._index.counted:
                yield count, frame
                continue
            number = None if frame.pts is None else self._index.number_at(frame.pts)
            if number is not None:
                yield number, frame

    def _broken(self, number: int, why: str):
        return unreadable(self._index.path, f"cannot be decoded at second {self._index.second(number):.2f}: {why}.")
