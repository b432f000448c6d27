"""Every n-th frame of a video: which ones, exactly, whatever the source's rate is.

`sample_stride` counts the frames of the file as they are shown. MimicMotion's published pipeline multiplies it by
int(fps / 24) unasked, so that 48 frames a second give half as many poses as 47.95 (fact 17); here it is never
multiplied.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

from ..errors import MotionError
from .chunks import SHORTEST
from .reader import VideoFrames
from .timeline import CLOCK_GRACE, Timeline, checked_range, seconds, shown_at

# What is left of a source frame at the end of a range counts as a frame from this part of it on: containers round.
REST = Fraction(1, 4)


@dataclass(frozen=True)
class Sampling:
    """What a range gives: poses, the source's frames a second, and the range's length in seconds."""

    num_frames: int
    rate: Fraction
    length: Fraction


def source_rate(count: int, last: Fraction) -> Fraction:
    """Frames a second of `count` frames of which the last is shown `last` seconds after the first.

    A whole number, or one divided by 1.001 as television has them, where that hits the last frame's time, for
    containers round times; else the average.
    """
    average = (count - 1) / seconds(last)
    whole = max(1, floor(average + Fraction(1, 2)))
    usual = min((Fraction(whole), Fraction(whole * 1000, 1001)), key=lambda rate: abs((count - 1) / rate - last))
    return usual if abs((count - 1) / usual - last) <= CLOCK_GRACE else average.limit_denominator(100_000)


def sampling(rate: Fraction, stride: int, length: Fraction, most: int = 0) -> Sampling:
    """How many frames every `stride`-th of `length` seconds is. most: no more than these many (0: all)."""
    source_frames = ceil(length * rate - REST)
    count = ceil(Fraction(source_frames, stride))
    if most and count > most:
        count, length = most, most * stride / rate
    return Sampling(count, rate, length)


def sample(
    times: Sequence[Fraction],
    duration: Fraction,
    stride: int,
    start_time: Fraction = Fraction(0),
    end_time: Fraction | None = None,
    most: int = 0,
) -> Timeline:
    """Plan every `stride`-th source frame of start_time..end_time, beginning with the one that is shown at its start.

    times, duration: as `timeline.resample` takes them. Where frames come at a constant rate (each within half a frame
    of its place), their numbers are counted. Where they do not, equal steps in number would be unequal steps in time,
    and the motion would limp: then they are taken by time, `stride` average frames apart.
    The timeline's fps is the source's rate / stride; its end is the range's, not the last sampled frame's.
    Raises MotionError range_outside_video, invalid_range, video_too_short (under 16 frames).
    """
    if len(times) < 2:
        raise _too_short(len(times), Fraction(0), stride, len(times), duration)
    first = times[0]
    rate = source_rate(len(times), times[-1] - first)
    start, end = checked_range(seconds(duration), rate, start_time, end_time)
    whole, found = sampling(rate, stride, end - start), sampling(rate, stride, end - start, most)
    if whole.num_frames < SHORTEST:
        raise _too_short(ceil((end - start) * rate - REST), rate, stride, whole.num_frames, end - start)
    if is_constant(times, rate):
        begin = floor((start - first + CLOCK_GRACE) * rate)
        indices = tuple(min(begin + k * stride, len(times) - 1) for k in range(found.num_frames))
    else:
        indices = tuple(shown_at(times, start + k * stride / rate) for k in range(found.num_frames))
    return Timeline(indices, rate / stride, start, start + found.length)


def is_constant(times: Sequence[Fraction], rate: Fraction) -> bool:
    """Whether every frame is shown within half a frame of its place at `rate`."""
    return all(abs((time - times[0]) * rate - k) < Fraction(1, 2) for k, time in enumerate(times))


class SampledFrames(VideoFrames):
    """Every `stride`-th frame of a range of a video file, at the video's own size. Raises what `sample` refuses."""

    def __init__(
        self,
        path: str | Path,
        stride: int,
        start_time: Fraction = Fraction(0),
        end_time: Fraction | None = None,
        most: int = 0,
        trim_start: Fraction = Fraction(0),
        trim_length: Fraction | None = None,
    ):
        """most: no more than these many frames, 0 = all; the rest as VideoFrames has it."""
        self.stride, self._most = stride, most
        super().__init__(path, 0, 0, Fraction(1), "pad", start_time, end_time, trim_start, trim_length)

    def _planned(
        self, times: list[Fraction], duration: Fraction, start_time: Fraction, end_time: Fraction | None
    ) -> Timeline:
        return sample(times, duration, self.stride, start_time, end_time, self._most)

    @property
    def length(self) -> Fraction:
        """Seconds that these frames stand for: the range, or what `most` leaves of it."""
        return self.timeline.end - self.timeline.start


def _too_short(source_frames: int, rate: Fraction, stride: int, count: int, length: Fraction) -> MotionError:
    widest = source_frames // SHORTEST
    return MotionError(
        "video_too_short",
        f"The range has {source_frames} frames in {float(length):.3f} s ({float(rate):.3f} a second); with "
        f"sample_stride {stride} that is {count}, and at least {SHORTEST} poses are needed.",
        f"Set sample_stride to at most {widest}, or choose a longer range."
        if widest
        else f"Choose a video, or a range, of at least {SHORTEST} frames.",
    )
