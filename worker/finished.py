"""What makes a finished MP4 right. The worker asks before it announces a job, smoke_test.py asks again afterwards.

One pass: every frame and all sound is decoded, one at a time, so memory does not grow with the length. Figures about
the picture come from a 4x4 block mean of every fourth luma sample.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError

from .errors import JobError

# Luma runs from 16 (black) to 235. What encoders leave of pure black stays within a few steps of 16; the brightest
# block of a night scene, a lamp or a face, does not.
BLACK_LUMA = 32
# Nothing moved when no block's mean left its value in the first frame by more than encoding noise, at most 1 to 2
# steps at any sensible quality. Lips moving, or one eye closing, is 5 and more.
FROZEN_LUMA = 3
# A repeat leaves every block within 1 of the frame before; a person filmed standing still moves some block by 2 and
# more. Slow sources repeat frames as well, but never most of the video in one stretch.
SAME_LUMA = 1.0
STILL_SHARE = 0.8
# A fade to black may take this long; a window of generation that failed (77 frames at 24 fps) takes 3.2 seconds.
BLACK_SECONDS = 2.0
AUDIO_TOLERANCE_S = 0.1


@dataclass(frozen=True)
class Expected:
    """What the job was to give. `audio_seconds` where the sound is shorter than the picture by right."""

    width: int
    height: int
    fps: float
    num_frames: int
    has_audio: bool
    audio_seconds: float | None = None


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was seen, what was wanted."""

    name: str
    ok: bool
    seen: str
    wanted: str


@dataclass
class Report:
    """All checks, and the figures of the file for the answer. `ok` only if every check is."""

    checks: list[Check] = field(default_factory=list)
    width: int = 0
    height: int = 0
    fps: float = 0.0
    num_frames: int = 0
    duration_seconds: float = 0.0
    video_size_bytes: int = 0

    @property
    def ok(self) -> bool:
        return bool(self.checks) and all(check.ok for check in self.checks)

    def add(self, name: str, ok: bool, seen: object, wanted: object) -> None:
        self.checks.append(Check(name, bool(ok), str(seen), str(wanted)))

    def table(self) -> str:
        """The checks as text, one a line, for a person."""
        rows = [("", "check", "seen", "wanted")]
        rows += [("ok" if c.ok else "WRONG", c.name, c.seen, c.wanted) for c in self.checks]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"ok": self.ok, **asdict(self)}

    def require(self) -> "Report":
        """The report itself when all is right. Raises JobError output_wrong with every wrong check."""
        wrong = [f"{c.name}: {c.seen}, wanted {c.wanted}" for c in self.checks if not c.ok]
        if not self.ok:
            raise JobError("output_wrong", detail="; ".join(wrong) + ".")
        return self


def check_mp4(path: Path, expected: Expected) -> Report:
    """Decode a finished video in full and compare it with what was expected. Never raises for what is in the file."""
    report = Report(video_size_bytes=path.stat().st_size)
    with path.open("rb") as file:
        order = [name for name in _top_boxes(file) if name in ("moov", "mdat")]
    report.add("index first", order[:1] == ["moov"], " before ".join(order) or "neither moov nor mdat", "moov first")
    try:
        with av.open(str(path.resolve()), format="mov", options={"protocol_whitelist": "file"}) as container:
            _check_streams(report, container, expected)
            if container.streams.video:
                seen = _decode(container)
                _check_frames(report, seen, expected)
                _check_sound(report, seen, expected)
                _check_picture(report, seen)
    except (FFmpegError, ValueError) as error:
        report.add("opens", False, error, "an MP4")
    return report


def _top_boxes(file: BinaryIO) -> Iterator[str]:
    """Names of an MP4's top-level boxes, in order (ISO/IEC 14496-12, 4.2)."""
    end = file.seek(0, 2)
    start = 0
    while start + 8 <= end:
        file.seek(start)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        yield header[4:8].decode("latin-1")
        if size < 8:  # 0: to the end of the file
            return
        start += size


def _check_streams(report: Report, container: InputContainer, expected: Expected) -> None:
    videos, sounds = container.streams.video, container.streams.audio
    report.add("video streams", len(videos) == 1, len(videos), 1)
    if videos:
        context = videos[0].codec_context
        report.add("codec", context.name == "h264", context.name, "h264")
        report.add("pixel format", context.pix_fmt == "yuv420p", context.pix_fmt, "yuv420p")
    wanted = "one" if expected.has_audio else "none"
    report.add("sound streams", len(sounds) == int(expected.has_audio), len(sounds) or "none", wanted)


@dataclass
class _Seen:
    """What decoding showed. Times in seconds; `error` is the first thing that did not decode."""

    packets: int = 0
    frames: int = 0
    sizes: set[tuple[int, int]] = field(default_factory=set)
    first_time: Fraction | None = None
    last_time: Fraction | None = None
    steps: dict[Fraction, int] = field(default_factory=dict)
    time_base: Fraction = Fraction(1, 1000)
    sound_start: float = 0.0
    sound_seconds: float = 0.0
    error: str = ""
    luma_sum: float = 0.0
    black_run: int = 0
    longest_black: int = 0
    black_frames: int = 0
    change: float = 0.0
    still_run: int = 0
    longest_still: int = 0
    first_blocks: np.ndarray | None = None
    last_blocks: np.ndarray | None = None


def _decode(container: InputContainer) -> _Seen:
    """Every packet of picture and sound through its decoder, in file order."""
    video, sounds = container.streams.video[0], container.streams.audio[:1]
    seen = _Seen(time_base=video.time_base or Fraction(1, 1000))
    video.thread_type = "AUTO"
    # More of the damage is then an error; the rest the decoder paints over and marks as corrupt.
    video.codec_context.options = {"err_detect": "explode"}
    for packet in container.demux(video, *sounds):
        is_picture = packet.stream_index == video.index
        seen.packets += bool(is_picture and packet.size)
        try:
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    _see_picture(seen, frame)
                elif isinstance(frame, av.AudioFrame):
                    _see_sound(seen, frame)
        except FFmpegError as error:
            what = f"frame {seen.frames + 1}" if is_picture else f"sound at {seen.sound_seconds:.2f} s"
            seen.error = seen.error or f"{what}: {error.strerror or error}"
    return seen


def _see_picture(seen: _Seen, frame: av.VideoFrame) -> None:
    seen.frames += 1
    seen.sizes.add((frame.width, frame.height))
    if frame.is_corrupt and not seen.error:
        seen.error = f"frame {seen.frames}: damaged"
    time = Fraction(frame.pts) * frame.time_base if frame.pts is not None and frame.time_base else None
    if time is not None and seen.last_time is not None:
        step = time - seen.last_time
        seen.steps[step] = seen.steps.get(step, 0) + 1
    seen.first_time = time if seen.first_time is None else seen.first_time
    seen.last_time = time
    blocks = _block_means(frame)
    if seen.first_blocks is None or seen.first_blocks.shape != blocks.shape:
        seen.first_blocks = seen.last_blocks = blocks
    seen.change = max(seen.change, float(np.abs(blocks - seen.first_blocks).max()))
    is_same = seen.frames > 1 and float(np.abs(blocks - seen.last_blocks).max()) < SAME_LUMA
    seen.still_run = seen.still_run + 1 if is_same else 0
    seen.longest_still = max(seen.longest_still, seen.still_run)
    seen.last_blocks = blocks
    seen.luma_sum += float(blocks.mean())
    is_black = blocks.max() < BLACK_LUMA
    seen.black_frames += is_black
    seen.black_run = seen.black_run + 1 if is_black else 0
    seen.longest_black = max(seen.longest_black, seen.black_run)


def _see_sound(seen: _Seen, frame: av.AudioFrame) -> None:
    if not seen.sound_seconds and frame.pts is not None and frame.time_base:
        seen.sound_start = float(frame.pts * frame.time_base)
    seen.sound_seconds += frame.samples / frame.sample_rate


def _block_means(frame: av.VideoFrame) -> np.ndarray:
    """Luma of a frame -> float32 [h/16, w/16], each the mean of 4x4 samples taken every 4 pixels."""
    plane = frame.planes[0]
    luma = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width][
        ::4, ::4
    ]
    rows, columns = max(1, luma.shape[0] // 4), max(1, luma.shape[1] // 4)
    luma = luma[: rows * 4, : columns * 4].astype(np.float32)
    return luma.reshape(rows, -1, columns, luma.shape[1] // columns).mean((1, 3))


def _check_frames(report: Report, seen: _Seen, expected: Expected) -> None:
    """Decoded, size, rate, spacing, count; fills the report's figures."""
    if len(seen.sizes) == 1:
        report.width, report.height = next(iter(seen.sizes))
    report.num_frames = seen.frames
    span = (seen.last_time or 0) - (seen.first_time or 0)
    report.fps = round(float((seen.frames - 1) / span), 6) if span else 0.0
    report.duration_seconds = round(seen.frames / report.fps, 6) if report.fps else 0.0

    whole = not seen.error and seen.frames == seen.packets
    report.add("every frame decodes", whole, seen.error or f"{seen.frames} of {seen.packets}", f"all {seen.packets}")
    sizes = ", ".join(f"{width}x{height}" for width, height in sorted(seen.sizes)) or "no frame"
    report.add("size", seen.sizes == {(expected.width, expected.height)}, sizes, f"{expected.width}x{expected.height}")
    report.add("frames", seen.frames == expected.num_frames, seen.frames, expected.num_frames)
    report.add("frames a second", abs(report.fps - expected.fps) < 0.001, f"{report.fps:g}", f"{expected.fps:g}")
    # A time base that cannot hold 1/fps (1/1000 s, for one) rounds each step by up to one tick; others are exact.
    tick, period = float(seen.time_base), 1 / expected.fps
    slack = 1e-6 if abs(period / tick - round(period / tick)) < 1e-6 else min(tick, period / 10)
    uneven = sum(count for step, count in seen.steps.items() if abs(float(step) - period) > slack)
    report.add("even spacing", not uneven, f"{uneven} uneven steps", f"{period * 1000:.3f} ms each")
    start = float(seen.first_time or 0)
    report.add("starts at zero", abs(start) <= period / 2, f"{start:.3f} s", "0 s")


def _check_sound(report: Report, seen: _Seen, expected: Expected) -> None:
    """As long as the picture, and beginning with it, within 0.1 s."""
    if not expected.has_audio:
        return
    wanted = expected.num_frames / expected.fps if expected.audio_seconds is None else expected.audio_seconds
    good = seen.sound_seconds > 0 and abs(seen.sound_seconds - wanted) <= AUDIO_TOLERANCE_S
    report.add("length of sound", good, f"{seen.sound_seconds:.3f} s", f"{wanted:.3f} s within {AUDIO_TOLERANCE_S} s")
    at_start = abs(seen.sound_start) <= AUDIO_TOLERANCE_S
    report.add("sound starts", at_start, f"{seen.sound_start:.3f} s", f"0 s within {AUDIO_TOLERANCE_S} s")


def _check_picture(report: Report, seen: _Seen) -> None:
    """Not black, not frozen."""
    mean = seen.luma_sum / max(seen.frames, 1)
    longest = seen.longest_black / (report.fps or 1)
    good = seen.frames > 0 and seen.black_frames <= seen.frames / 2 and longest <= BLACK_SECONDS
    black = f"{seen.black_frames} of {seen.frames} frames black, mean luma {mean:.0f}"
    report.add("not black", good, black, f"at most half of them, at most {BLACK_SECONDS:g} s at a time")
    moves = seen.frames < 2 or (seen.change >= FROZEN_LUMA and seen.longest_still <= STILL_SHARE * seen.frames)
    still = f"luma changes by {seen.change:.1f}, {seen.longest_still} repeats in a row"
    report.add("not frozen", moves, still, f"at least {FROZEN_LUMA}, at most {STILL_SHARE:.0%} of the frames")
