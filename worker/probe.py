"""What a driving video really holds: frames counted by demuxing, for containers' own figures are often wrong."""

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition

from .errors import JobError

MAX_SIDE = 8192
# A frame must come out of so many packets; B-frames and frame threads need a few dozen.
_PACKETS_TO_A_FRAME = 250


@dataclass(frozen=True)
class VideoInfo:
    """A video as it is seen: size after rotation, frames per second on average, frames counted, seconds."""

    width: int
    height: int
    fps: float
    num_frames: int
    duration: float
    has_audio: bool


def check_range(info: VideoInfo, start: float | None, end: float | None) -> tuple[float, float]:
    """start_time and end_time in seconds -> the range within the video; None is its beginning or end.

    An end up to one frame past the video's is the video's: players round. Raises JobError invalid_range,
    range_outside_video, video_too_short (fewer than 2 frames).
    """
    first, last = start or 0.0, info.duration if end is None else end
    has = f"the video has {info.duration:.3f} s"
    if not (0 <= first < float("inf")):
        raise JobError("invalid_range", field="start_time", detail=f"start_time is {first}, not 0 or more.")
    if first >= info.duration:
        raise JobError("range_outside_video", field="start_time", detail=f"It starts at {first:g} s; {has}.")
    if not (first < last < float("inf")):
        raise JobError("invalid_range", field="end_time", detail=f"It starts at {first:g} s and ends at {last:g} s.")
    if last > info.duration + 1 / info.fps:
        raise JobError("range_outside_video", field="end_time", detail=f"It ends at {last:g} s; {has}.")
    last = min(last, info.duration)
    if (last - first) * info.fps < 2 - 1e-6:
        detail = f"It goes from {first:g} to {last:g} s, at {info.fps:g} frames a second."
        raise JobError("video_too_short", field="end_time", detail=detail)
    return first, last


def probe_video(path: Path, demuxer: str = "mov") -> VideoInfo:
    """Count the frames and decode the first. `demuxer` is ffmpeg's name for the container (mov, matroska, avi).

    Raises JobError not_a_video (only sound in it), video_unreadable, video_too_short, too_large (over 8192 pixels).
    """
    try:
        # A container may name other files or addresses to read from; only this very file is to be read.
        options = {"protocol_whitelist": "file"}
        with av.open(str(path.resolve()), format=demuxer, options=options, metadata_errors="ignore") as container:
            return _probe(container, path)
    except (FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise JobError("video_unreadable", detail=f"It cannot be opened ({reason}).") from None


def _probe(container: InputContainer, path: Path) -> VideoInfo:
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not videos:
        raise JobError("not_a_video", detail="There is no picture in it, only sound or data.")
    stream = videos[0]
    # The header's word is enough to refuse; a frame that large is not even decoded once.
    if max(stream.codec_context.width, stream.codec_context.height) > MAX_SIDE:
        raise JobError("too_large", detail=f"The video has more than {MAX_SIDE} pixels on a side.")
    seen = _Seen(stream.time_base or Fraction(1, 1000))
    for packet in container.demux(stream, *container.streams.audio):
        if packet.stream_index == stream.index:
            seen.add_picture(packet)
        elif packet.size:
            seen.add_sound(packet)
    _refuse_cut(container, stream, path, seen)
    if seen.num_frames < 2:
        raise JobError("video_too_short", detail=f"It has {seen.num_frames} frame(s).")
    if seen.frame is None:
        detail = f"No frame of it can be decoded (codec {stream.codec_context.name})."
        raise JobError("video_unreadable", detail=detail)
    width, height = seen.frame.width, seen.frame.height
    if seen.frame.rotation % 180:
        width, height = height, width
    return VideoInfo(width, height, seen.fps, seen.num_frames, seen.duration, seen.has_audio)


class _Seen:
    """What passed by while demuxing: frames and their times, whether there is sound, the first frame decoded."""

    def __init__(self, time_base: Fraction):
        self.time_base, self.num_frames, self.has_audio = time_base, 0, False
        self.frame: av.VideoFrame | None = None
        self.end_s = 0.0
        self._times: tuple[int, int, int] | None = None  # first, last, end of last; in time_base
        self._tried = 0

    def add_picture(self, packet: av.Packet) -> None:
        if self.frame is None and self._tried < _PACKETS_TO_A_FRAME:
            self._tried += 1
            # Some files begin between key frames: their first packets are lost, the video is not.
            with suppress(FFmpegError):
                self.frame = next((f for f in packet.decode() if isinstance(f, av.VideoFrame)), None)
        # An edit list hides such frames; a player does not show them and the graph does not get them.
        if not packet.size or packet.is_discard:
            return
        self.num_frames += 1
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None:
            return
        first, last, end = self._times or (time, time, time)
        self._times = (min(first, time), max(last, time), max(end, time + (packet.duration or 0)))
        self.end_s = max(self.end_s, float(self._times[2] * self.time_base))

    def add_sound(self, packet: av.Packet) -> None:
        self.has_audio = True
        if packet.pts is not None and packet.time_base:
            self.end_s = max(self.end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))

    @property
    def fps(self) -> float:
        """Frames a second between the first and the last frame; also right where the last has no duration."""
        first, last, _ = self._times or (0, 0, 0)
        if last <= first:
            raise JobError("video_unreadable", detail="Its frames have no times.")
        return float((self.num_frames - 1) / ((last - first) * self.time_base))

    @property
    def duration(self) -> float:
        """Seconds from the first frame's beginning to the last one's end."""
        first, last, end = self._times or (0, 0, 0)
        return float((end - first) * self.time_base) if end > last else self.num_frames / self.fps


def _refuse_cut(container: InputContainer, stream: av.VideoStream, path: Path, seen: _Seen) -> None:
    """A file that ends early still opens when its index comes first; the frames that are missing show only later."""
    size = path.stat().st_size
    needed = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    if needed > size:
        raise JobError("video_unreadable", detail=f"It is cut off: {size} bytes are there, its index needs {needed}.")
    # Matroska and AVI say how long they are; a header that is off by a tenth and two seconds tells of a cut.
    said = (container.duration or 0) / 1_000_000
    if said > seen.end_s + 2 and said > seen.end_s * 1.1:
        raise JobError("video_unreadable", detail=f"It is cut off: it ends at {seen.end_s:.1f} s of {said:.1f} s.")
