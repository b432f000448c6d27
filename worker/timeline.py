"""How many frames a range of the driving video gives: the graph's own rules, before the graph runs.

The nodes "Resample driving video", "Sample driving video", "Prepare voices" and "Retime" decide what is generated, and
the finished MP4 is checked against what was asked for, so both must come to the same number. They may not import each
other; tests hold this file to custom_nodes/comfy_motion/video/{timeline,stride,retime,chunks}.py, talk/voices.py and
clips/windows.py.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from worker.errors import JobError
from worker.probe import VideoInfo, check_range

# 24000/1001 is typed as 23.976 or 23.98.
NTSC_TOLERANCE = Fraction(2, 10_000)
SHORTEST = 16
"""Poses: MimicMotion was trained on so many at a time."""
TALK_FPS = 25
"""Frames a second of MultiTalk; its voices have VOICE_RATE samples."""
VOICE_RATE = 16_000
_CLOCK_GRACE, _REST = Fraction(1, 1000), Fraction(1, 4)


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


@dataclass(frozen=True)
class Sampled:
    """What every n-th frame of a range is: poses, the source's frames a second, seconds of the range."""

    num_frames: int
    rate: Fraction
    length: Fraction


def frames_sampled(info: VideoInfo, stride: int, start_time: float, end_time: float | None, most: int = 0) -> Sampled:
    """Every `stride`-th source frame of start_time..end_time; no more than `most` (0: all).

    Raises JobError invalid_range, range_outside_video, video_too_short; that one has a field, `sample_stride`, only
    where a smaller stride would do.
    """
    start, end = map(as_written, check_range(info, start_time, end_time))
    rate, length = _source_rate(info), end - start
    source_frames = ceil(length * rate - _REST)
    count = ceil(Fraction(source_frames, stride))
    if count < SHORTEST:
        widest = source_frames // SHORTEST
        detail = (
            f"The range has {source_frames} frames in {float(length):.3f} s ({float(rate):.3f} a second); with "
            f"sample_stride {stride} that is {count}, and at least {SHORTEST} poses are needed."
        )
        hint = f"Set sample_stride to at most {widest}, or choose a longer range." if widest else None
        raise JobError("video_too_short", "sample_stride" if widest else None, detail, hint)
    if most and count > most:
        count, length = most, most * stride / rate
    return Sampled(count, rate, length)


def frames_retimed(length: Fraction, fps: float) -> int:
    """Frames of a video of `length` seconds written at `fps`, to the nearest."""
    # The graph hands the length on as a float.
    return max(1, floor(as_written(float(length)) * exact_rate(fps) + Fraction(1, 2)))


def voice_samples(num_samples: int, rate: int) -> int:
    """Samples of a voice at 16 kHz, of a file's `num_samples` at `rate` Hz (multitalk.md: rounded up)."""
    return ceil(Fraction(num_samples * VOICE_RATE, rate))


def frames_spoken(samples: int) -> int:
    """Frames at 25 a second for so many samples at 16 kHz (multitalk.md: int(samples / 16000 * 25))."""
    return samples * TALK_FPS // VOICE_RATE


def count_chunks(total: int, length: int, overlap: int) -> int:
    """In how many chunks of `length` frames, `overlap` of them shared at each seam, `total` frames are made."""
    return 1 + max(0, ceil(Fraction(total - length, length - overlap)))


def _source_rate(info: VideoInfo) -> Fraction:
    """A whole number of frames a second, or one divided by 1.001, where that hits the last frame's time; else the
    average."""
    last = as_written((info.num_frames - 1) / info.fps)
    average = (info.num_frames - 1) / last
    whole = max(1, floor(average + Fraction(1, 2)))
    near = (Fraction(whole), Fraction(whole * 1000, 1001))
    usual = min(near, key=lambda rate: abs((info.num_frames - 1) / rate - last))
    close = abs((info.num_frames - 1) / usual - last) <= _CLOCK_GRACE
    return usual if close else average.limit_denominator(100_000)
