"""Which source frame is shown in which output frame: pure, exact arithmetic in seconds.

A player shows at time t the last frame whose presentation time is not after t. Output frame i is what it would
show at `start + i / fps`, so picture and sound stay together whatever the source's rate is, variable or not.
All times count from the video's own beginning.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from ..errors import MotionError

# Matroska and FLV round presentation times to whole milliseconds: frame 1 of 24 fps is at 42 ms instead of 41.67.
# A millisecond of grace makes every container give the same frames; it is far below any frame's own duration.
CLOCK_GRACE = Fraction(1, 1000)

# Rates that television divides by 1.001 and people type with two or three decimals.
NTSC_TOLERANCE = Fraction(2, 10_000)


@dataclass(frozen=True)
class Timeline:
    """A plan: `indices[i]` is the source frame of output frame i; `start` and `end` are the seconds it covers."""

    indices: tuple[int, ...]
    fps: Fraction
    start: Fraction
    end: Fraction

    @property
    def num_frames(self) -> int:
        return len(self.indices)


def exact_rate(fps: float | Fraction) -> Fraction:
    """The rate that was meant: 24.0 is 24, 23.976 and 23.98 are 24000/1001, 12.5 is 25/2."""
    rate = Fraction(fps).limit_denominator(100_000)
    if rate <= 0:
        raise ValueError(f"{fps} frames a second is not a rate")
    nominal = floor(rate + Fraction(1, 2))
    television = Fraction(nominal * 1000, 1001)
    if rate != nominal and nominal and abs(rate - television) <= television * NTSC_TOLERANCE:
        return television
    return rate.limit_denominator(1001)


def seconds(value: float | Fraction) -> Fraction:
    """A time as typed (a binary float) as the decimal it stands for, to the microsecond."""
    return Fraction(value).limit_denominator(1_000_000)


def resample(
    times: Sequence[Fraction],
    duration: Fraction,
    fps: Fraction,
    start_time: Fraction = Fraction(0),
    end_time: Fraction | None = None,
) -> Timeline:
    """Plan `fps` frames a second over start_time..end_time.

    times: presentation time of every source frame, seconds, rising, the first one 0 (or before 0: trimmed away).
    duration: where the video ends, seconds.
    end_time: seconds; None = the end of the video. Up to one frame beyond the end counts as the end.
    The number of output frames is (end - start) * fps rounded to the nearest, halves up.
    Raises MotionError range_outside_video, invalid_range, video_too_short.
    """
    start, end = checked_range(duration, fps, start_time, end_time)
    count = floor((end - start) * fps + Fraction(1, 2))
    indices = tuple(shown_at(times, start + i / fps) for i in range(count))
    if len(set(indices)) < 2:
        raise MotionError(
            "video_too_short",
            f"Only {len(set(indices))} frame of the driving video lies between {_text(start)} and {_text(end)} "
            f"(at {float(fps):g} frames a second).",
            "Give a video, or a range, of at least two frames.",
        )
    return Timeline(indices, fps, start, start + count / fps)


def shown_at(times: Sequence[Fraction], time: Fraction) -> int:
    """The number of the frame that a player shows at `time`."""
    return max(bisect_right(times, time + CLOCK_GRACE) - 1, 0)


def checked_range(
    duration: Fraction, fps: Fraction, start: Fraction, end_time: Fraction | None
) -> tuple[Fraction, Fraction]:
    """start_time and end_time as the range that is meant, seconds; up to one frame beyond the end counts as the end.

    Raises MotionError range_outside_video, invalid_range.
    """
    end = duration if end_time is None else end_time
    if end_time is not None and end <= start:
        raise MotionError(
            "invalid_range",
            f"The range ends at {_text(end)}, which is not after its start at {_text(start)}.",
            "Give an end_time after start_time, or 0 for the end of the video.",
        )
    if start < 0 or start >= duration or end > duration + 1 / fps:
        asked = f"{_text(start)} to {'the end' if end_time is None else _text(end)}"
        raise MotionError(
            "range_outside_video",
            f"The range {asked} is not inside the driving video, which lasts {_text(duration)}.",
            f"Choose start_time and end_time between 0 and {float(duration):.3f}.",
        )
    return start, min(end, duration)


def _text(value: Fraction) -> str:
    return f"{float(value):.3f} s"
