"""How many frames a range of the driving video gives at a wanted rate: the graph's own rule, before the graph runs.

The node "Resample driving video" decides what is generated, and the finished MP4 is checked against what was
asked for, so both must come to the same number. They may not import each other; a test holds this file to
custom_nodes/comfy_motion/video/timeline.py.
"""

from fractions import Fraction
from math import floor

from worker.probe import VideoInfo, check_range

# 24000/1001 is typed as 23.976 or 23.98.
NTSC_TOLERANCE = Fraction(2, 10_000)


def frames_in_range(info: VideoInfo, fps: float, start_time: float, end_time: float | None) -> int:
    """Output frames at `fps` for start_time..end_time (seconds; None: to the end) of a probed video.

    The duration is the shown time of all frames, variable rates included; the count is (end - start) * fps, rounded
    to the nearest, halves up. Raises JobError invalid_range, range_outside_video, video_too_short.
    """
    check_range(info, start_time, end_time)
    duration = as_written(info.duration)
    start = as_written(start_time)
    end = duration if end_time is None else min(as_written(end_time), duration)
    return floor((end - start) * exact_rate(fps) + Fraction(1, 2))


def as_written(seconds: float) -> Fraction:
    """The exact time that a float stands for: a typed decimal, or ticks of a container's clock (1 MHz or coarser)."""
    return Fraction(seconds).limit_denominator(1_000_000)


def exact_rate(fps: float) -> Fraction:
    """The rate that was meant: 24.0 is 24; 23.976 and 23.98 are 24000/1001; 12.5 is 25/2."""
    rate = Fraction(fps).limit_denominator(100_000)
    nominal = floor(rate + Fraction(1, 2))
    television = Fraction(nominal * 1000, 1001)
    if nominal and rate != nominal and abs(rate - television) <= television * NTSC_TOLERANCE:
        return television
    return rate.limit_denominator(1001)
