"""What a video file holds, learned without decoding it: one pass over its packets."""

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from ..errors import MotionError

# Only file formats that hold their own pictures and sounds, and only local files: libav would otherwise follow the
# addresses and paths written in a playlist that somebody named .mp4.
_VIDEOS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,gif,apng,mxf,nut,ivf,h264,hevc,m4v,mpegvideo,rm"
_SOUNDS = "wav,w64,mp3,aac,loas,flac,aiff,caf,au,amr,wv,ape,tta,tak,ac3,eac3,dts,voc,dsf,mpc,mpc8,ircam"
_OPTIONS = {
    "format_whitelist": f"{_VIDEOS},{_SOUNDS}",
    "protocol_whitelist": "file",
}
_ATTACHED_PICTURE = Disposition.attached_pic


@dataclass(frozen=True)
class VideoIndex:
    """The pictures of one file. Times are in ticks of `time_base` (seconds) on the file's own clock.

    pts: when each frame is shown, rising; a frame's number is its place in here.
    keys: (frame number, time to seek to) of every frame from which decoding can start, in decoding order; for one that
        is decoded and never shown, the number of the frame that is shown next.
    counted: the file has no usable times; frames are numbered as they come and decoding starts at the first.
    """

    path: str
    stream: int
    time_base: Fraction
    pts: tuple[int, ...]
    last_duration: int
    keys: tuple[tuple[int, int], ...]
    pixel_aspect: Fraction
    counted: bool

    @property
    def origin(self) -> Fraction:
        """The first frame's time on the file's clock, seconds."""
        return self.pts[0] * self.time_base

    @property
    def times(self) -> list[Fraction]:
        """When each frame is shown, seconds from the first one."""
        return [(pts - self.pts[0]) * self.time_base for pts in self.pts]

    @property
    def duration(self) -> Fraction:
        """Seconds from the first frame to the end of the last."""
        return (self.pts[-1] + self.last_duration - self.pts[0]) * self.time_base

    def second(self, number: int) -> float:
        return float((self.pts[number] - self.pts[0]) * self.time_base)

    def number_at(self, pts: int) -> int | None:
        """The frame shown from exactly `pts` on, or None."""
        number = bisect_right(self.pts, pts) - 1
        return number if number >= 0 and self.pts[number] == pts else None

    def starts_for(self, number: int) -> Iterator[tuple[int, int]]:
        """Where decoding can start to reach a frame: the nearest key frame not after it, then earlier ones."""
        return (key for key in reversed(self.keys) if key[0] <= number)


def unreadable(path: str | Path, what: str) -> MotionError:
    """The refusal for a file that cannot be used; `what` says what was seen and where."""
    return MotionError(
        "video_unreadable",
        f"The video {Path(path).name} {what}",
        "Check that the file plays to its end in a player, or convert it to H.264 in an MP4 file.",
    )


@contextmanager
def opened(path: str | Path) -> Iterator[InputContainer]:
    """The file opened for reading. Raises MotionError video_unreadable when it is not a media file."""
    container = open_container(path)
    try:
        yield container
    finally:
        container.close()


def open_container(path: str | Path) -> InputContainer:
    try:
        return av.open(str(path), mode="r", container_options=_OPTIONS, metadata_errors="replace")
    except (FFmpegError, OSError, ValueError) as error:
        raise unreadable(path, f"cannot be opened as a video: {reason(error)}.") from error


def clock(stream: Stream) -> Fraction:
    """The length of one tick of a stream's times, seconds."""
    return stream.time_base or Fraction(1, av.time_base)


def only(container: InputContainer, stream: Stream) -> None:
    """Have the container skip every other stream's data."""
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all


def reason(error: Exception) -> str:
    """libav's own words, without the path and number that PyAV adds."""
    return getattr(error, "strerror", None) or str(error)


def scan(path: str | Path) -> VideoIndex:
    """Read the file's packets once. Raises MotionError video_unreadable."""
    with opened(path) as container:
        stream = _picture_stream(container, path)
        packets = _packets(container, stream, path)
        if not packets:
            raise unreadable(path, "has a video track without a single picture.")
        return _index(str(path), stream, packets)


def _picture_stream(container: InputContainer, path: str | Path) -> VideoStream:
    """The first video stream that is not a cover picture and that libav can decode."""
    streams = [stream for stream in container.streams.video if not stream.disposition & _ATTACHED_PICTURE]
    for stream in streams:
        if stream.codec_context is not None:
            return stream
    raise unreadable(path, "has pictures in a format that cannot be decoded." if streams else "has no pictures in it.")


class _Packet(NamedTuple):
    """What one packet says about the picture in it; times in ticks, the key frame flag as the container has it."""

    pts: int | None
    dts: int | None
    duration: int
    is_key: bool
    is_shown: bool


def _packets(container: InputContainer, stream: VideoStream, path: str | Path) -> list[_Packet]:
    """Every picture's packet in decoding order. Raises video_unreadable for a file that was cut off."""
    only(container, stream)
    packets: list[_Packet] = []
    promised = len(stream.index_entries) if "mp4" in container.format.name else 0
    seen, problem = 0, ""
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if packet.is_corrupt and promised:
                problem = "its data ends in the middle of a picture"
                break
            seen += 1
            # What an edit list hides is decoded and never shown: a trim without re-encoding begins between key frames.
            shown = not packet.is_discard
            packets.append(_Packet(packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe, shown))
    except FFmpegError as error:
        problem = reason(error)
    if not problem and seen < promised:
        problem = f"its header promises {promised} pictures and {seen} are there"
    if problem:
        last = max((packet.pts or 0 for packet in packets), default=0)
        raise unreadable(path, f"is damaged or cut off at second {float(last * clock(stream)):.2f}: {problem}.")
    return packets


def _index(path: str, stream: VideoStream, packets: list[_Packet]) -> VideoIndex:
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    if abs(aspect - 1) < Fraction(1, 200):  # rounding by encoders, not anamorphic video
        aspect = Fraction(1)
    timed = [(packet.pts, packet) for packet in packets if packet.pts is not None]
    if len(timed) < len(packets):
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        logging.info("%s has no usable picture times; taken as %s frames a second", Path(path).name, rate)
        frames = tuple(range(len(packets)))
        return VideoIndex(path, stream.index, 1 / rate, frames, 1, ((0, 0),), aspect, counted=True)
    # What is shown before the first key frame cannot be decoded: a cut stream, or an open group's leading pictures.
    first = next((i for i, (_, packet) in enumerate(timed) if packet.is_key), None)
    if first is None:
        raise unreadable(path, "has no key frame, so its decoding cannot start anywhere.")
    timed = [(pts, packet) for pts, packet in timed[first:] if pts >= timed[first][0]]
    by_pts = dict(sorted((pts, packet) for pts, packet in timed if packet.is_shown))
    if not by_pts:
        raise unreadable(path, "has a video track without a single picture that is shown.")
    shown = tuple(by_pts)
    last = by_pts[shown[-1]].duration or _usual_duration(stream, shown)
    # Matroska's own index is in presentation times, the others' in decoding times.
    in_pts = "matroska" in stream.container.format.name
    keys = tuple(
        (bisect_left(shown, pts), pts if in_pts or packet.dts is None else packet.dts)
        for pts, packet in timed
        if packet.is_key
    )
    return VideoIndex(path, stream.index, clock(stream), shown, last, keys, aspect, counted=False)


def _usual_duration(stream: VideoStream, shown: tuple[int, ...]) -> int:
    """A frame's duration in ticks where the file does not say it: the mean, or what the rate gives."""
    if len(shown) > 1:
        return max(1, round((shown[-1] - shown[0]) / (len(shown) - 1)))
    return max(1, round(1 / ((stream.average_rate or 25) * clock(stream))))
