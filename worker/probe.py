"""What a driving video really holds: frames counted by demuxing, for containers' own figures are often wrong."""

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

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
    """A video as it is seen: size after rotation, frames per second on average, frames counted, seconds; sha256 of a
    fetched file."""

    width: int
    height: int
    fps: float
    num_frames: int
    duration: float
    has_audio: bool
    sha256: str = ""


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
    stream = _picture_stream(container)
    # The header's word is enough to refuse; a frame that large is not even decoded once.
    if max(stream.codec_context.width, stream.codec_context.height) > MAX_SIDE:
        raise JobError("too_large", detail=f"The video has more than {MAX_SIDE} pixels on a side.")
    seen = _Seen()
    for packet in container.demux(stream, *container.streams.audio):
        if packet.stream_index == stream.index:
            seen.add_picture(packet)
        elif packet.size:
            seen.reach(packet)
    _refuse_cut(container, stream, path, seen)
    shown = _shown(seen.packets, stream)
    if shown.num_frames < 2:
        raise JobError("video_too_short", detail=f"It has {shown.num_frames} frame(s).")
    if seen.frame is None:
        detail = f"No frame of it can be decoded (codec {stream.codec_context.name})."
        raise JobError("video_unreadable", detail=detail)
    width, height = seen.frame.width, seen.frame.height
    if seen.frame.rotation % 180:
        width, height = height, width
    has_audio = any(_decodable(sound) for sound in container.streams.audio)
    return VideoInfo(width, height, shown.fps, shown.num_frames, shown.duration, has_audio)


def _picture_stream(container: InputContainer) -> av.VideoStream:
    """The first stream of moving pictures that can be decoded; not a cover picture."""
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not videos:
        raise JobError("not_a_video", detail="There is no picture in it, only sound or data.")
    # PyAV has no codec context where ffmpeg has no decoder.
    found = next((s for s in videos if s.codec_context is not None), None)
    if found is None:
        raise JobError("video_unreadable", detail="Its pictures are in a format that cannot be decoded.")
    return found


def _decodable(sound: av.AudioStream) -> bool:
    """Phones add tracks that no decoder exists for (spatial audio); the graph leaves those out."""
    return sound.codec_context is not None and bool(sound.codec_context.sample_rate)


class _Packet(NamedTuple):
    """What one packet says about the picture in it; times in the stream's ticks."""

    pts: int | None
    duration: int
    is_key: bool
    is_shown: bool


@dataclass(frozen=True)
class _Shown:
    """What of a stream's pictures a player shows: how many, frames a second on average, seconds."""

    num_frames: int
    fps: float
    duration: float


def _shown(packets: list[_Packet], stream: av.VideoStream) -> _Shown:
    """Count as the node pack does (custom_nodes/comfy_motion/video/index.py): from the first key frame on.

    What comes before it cannot be decoded: a cut stream, or an open group's leading pictures. Where a picture has
    no time, the rate that the file names stands for all. Raises JobError video_unreadable.
    """
    timed = [(packet.pts, packet) for packet in packets if packet.pts is not None]
    if len(timed) < len(packets):
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        return _Shown(len(packets), float(rate), float(len(packets) / rate))
    first = next((i for i, (_, packet) in enumerate(timed) if packet.is_key), None)
    if first is None:
        detail = "It has no key frame." if timed else "It has no frame."
        raise JobError("video_unreadable", detail=detail)
    by_pts = dict(sorted(item for item in timed[first:] if item[0] >= timed[first][0] and item[1].is_shown))
    if not by_pts:
        raise JobError("video_unreadable", detail="None of its frames is shown.")
    begin, end, count = min(by_pts), max(by_pts), len(by_pts)
    tick = stream.time_base or Fraction(1, av.time_base)
    if count > 1:
        usual = max(1, round((end - begin) / (count - 1)))
        fps = float((count - 1) / ((end - begin) * tick))
    else:
        rate = stream.average_rate or Fraction(25)
        usual, fps = max(1, round(1 / (rate * tick))), float(rate)
    return _Shown(count, fps, float((end + (by_pts[end].duration or usual) - begin) * tick))


class _Seen:
    """What passed by while demuxing: every picture's packet, the first frame decoded, and where it all ends."""

    def __init__(self) -> None:
        self.packets: list[_Packet] = []
        self.frame: av.VideoFrame | None = None
        self.end_s = 0.0
        self._tried = 0

    def add_picture(self, packet: av.Packet) -> None:
        if self.frame is None and self._tried < _PACKETS_TO_A_FRAME:
            self._tried += 1
            # Some files begin between key frames: their first packets are lost, the video is not.
            with suppress(FFmpegError):
                self.frame = next((f for f in packet.decode() if isinstance(f, av.VideoFrame)), None)
        if packet.size:
            # What an edit list hides is decoded for what follows; a player does not show it, the graph does not get it.
            self.packets.append(_Packet(packet.pts, packet.duration or 0, packet.is_keyframe, not packet.is_discard))
            self.reach(packet)

    def reach(self, packet: av.Packet) -> None:
        """Of any stream: where it ends."""
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None and packet.time_base:
            self.end_s = max(self.end_s, float((time + (packet.duration or 0)) * packet.time_base))


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
