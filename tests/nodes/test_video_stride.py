"""video/stride.py: every n-th frame exactly, at any rate; and on real files by the number that each frame carries."""

from fractions import Fraction
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.video.chunks import SHORTEST
from custom_nodes.comfy_motion.video.stride import SampledFrames, is_constant, sample, source_rate
from custom_nodes.comfy_motion.video.timeline import CLOCK_GRACE, seconds

from .video_reading import B_FRAMES, all_numbers, refusal
from .video_samples import numbered_video

RATES = [Fraction(n) for n in (12, 24, 25, 30, 48, 50, 60)] + [Fraction(n * 1000, 1001) for n in (24, 30, 48, 60)]
CLOCKS = [Fraction(1, 1000), Fraction(1, 12288), Fraction(1, 90000), None]


def even(count, rate, clock=None):
    """Times of a constant rate, rounded to the container's clock, and the duration."""
    times = [i / rate for i in range(count + 1)]
    if clock:
        times = [round(time / clock) * clock for time in times]
    return times[:-1], times[-1]


@given(
    rate=st.sampled_from(RATES),
    clock=st.sampled_from(CLOCKS),
    count=st.integers(16, 400),
    stride=st.integers(1, 6),
)
def test_every_nth_frame_of_a_whole_video(rate, clock, count, stride):
    times, duration = even(count, rate, clock)
    numbers = tuple(range(0, count, stride))
    if len(numbers) < SHORTEST:
        assert refusal(lambda: sample(times, duration, stride)).code == "video_too_short"
        return
    plan = sample(times, duration, stride)
    assert plan.indices == numbers
    # Of a second or two in whole milliseconds nobody can tell 24 from 23.976.
    assert plan.fps == rate / stride or (clock == CLOCKS[0] and abs(plan.fps * stride / rate - 1) < Fraction(1, 500))
    assert abs(plan.end - plan.start - duration) <= Fraction(1, 1000)


@given(
    rate=st.sampled_from(RATES),
    clock=st.sampled_from(CLOCKS),
    stride=st.integers(1, 4),
    start=st.integers(0, 3000),
    length=st.integers(1500, 6000),
    most=st.just(0) | st.integers(16, 300),
)
def test_a_range_begins_with_what_is_shown_and_steps_exactly(rate, clock, stride, start, length, most):
    times, duration = even(int(10 * rate), rate, clock)
    begin, end = Fraction(start, 1000), min(Fraction(start + length, 1000), duration)
    if (end - begin) * rate < SHORTEST * stride:
        return
    plan = sample(times, duration, stride, begin, end, most)
    assert abs(plan.indices[0] - begin * rate) <= 1 + CLOCK_GRACE * rate
    assert {b - a for a, b in pairwise(plan.indices)} == {stride}
    assert plan.indices[-1] < len(times)
    covered = plan.num_frames / plan.fps
    assert plan.end - plan.start - 1 / rate <= covered < plan.end - plan.start + stride / rate
    assert not most or plan.num_frames <= most
    if most and plan.end != end:  # the range was cut, and is then exactly as long as its frames
        assert (plan.num_frames, plan.end - plan.start) == (most, most * stride / rate)
    else:
        assert plan.end == end


@given(st.lists(st.integers(3, 180), min_size=40, max_size=120), st.integers(1, 3))
def test_a_variable_rate_is_sampled_by_time(steps, stride):
    tick = Fraction(1, 720)
    times = [sum(steps[:i]) * tick for i in range(len(steps))]
    duration = sum(steps) * tick
    rate = source_rate(len(times), times[-1])
    if is_constant(times, rate) or ceil(duration * rate - Fraction(1, 4)) < SHORTEST * stride:
        return
    plan = sample(times, duration, stride)
    for k, number in enumerate(plan.indices):
        shown = [i for i, time in enumerate(times) if time <= k / plan.fps + CLOCK_GRACE]
        assert number == max(shown, default=0)
    assert abs((len(times) - 1) / (plan.fps * stride) - times[-1]) <= CLOCK_GRACE
    assert 0 <= plan.num_frames / plan.fps - (plan.end - plan.start) + Fraction(1, 4) / rate <= stride / rate


def test_a_phones_jitter_repeats_and_skips_nothing():
    times = [i / Fraction(30) + Fraction((i * 7) % 15 - 7, 1000) for i in range(200)]
    times = [time - times[0] for time in times]
    assert sample(times, times[-1] + Fraction(1, 30), 2).indices == tuple(range(0, 200, 2))


@pytest.mark.parametrize(
    ("rate", "typed"), [(Fraction(24000, 1001), "mkv"), (Fraction(25), "mp4"), (Fraction(48), "mp4"), (60, "mkv")]
)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_real_files_give_every_nth_frame_by_the_number_it_carries(tmp_path, rate, typed, stride):
    path = numbered_video(tmp_path / f"a.{typed}", 70, rate=Fraction(rate), options=B_FRAMES)
    frames = SampledFrames(path, stride)
    assert all_numbers(frames) == list(range(0, 70, stride))
    assert frames.fps == Fraction(rate) / stride
    assert (frames.width, frames.height) == (320, 180)
    assert SampledFrames(path, stride, most=20).num_frames == 20
    assert SampledFrames(path, stride, most=20).length == 20 * stride / Fraction(rate)
    assert SampledFrames(path, stride, most=15).num_frames == 15  # the video has 16


def test_a_real_file_of_variable_rate(tmp_path):
    """40 frames at 40 ms, then 20 at 120 ms: by number the second half would run three times too fast."""
    ticks = [40 * i for i in range(40)] + [1600 + 120 * i for i in range(20)]
    path = numbered_video(tmp_path / "a.mkv", 60, ticks=ticks, time_base=Fraction(1, 1000))
    frames = SampledFrames(path, 2)
    numbers = all_numbers(frames)
    assert numbers[:4] == [0, 3, 6, 9]  # 59 frames in 3.88 s: 131.5 ms apart
    assert numbers[-4:] == [55, 56, 57, 58]
    assert frames.num_frames == 30


def test_a_turned_video_has_the_size_it_is_seen_at(tmp_path):
    frames = SampledFrames(numbered_video(tmp_path / "a.mp4", 20, rotation=90), 1)
    assert (frames.width, frames.height) == (180, 320)
    assert frames.read(0, 1).shape == (1, 320, 180, 3)


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    def wide(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    frames = SampledFrames(numbered_video(tmp_path / "a.mp4", 20, setup=wide), 1)
    assert (frames.width, frames.height) == (round(320 * 4 / 3), 180)


@pytest.mark.parametrize(
    ("stride", "start", "end", "code", "words"),
    [
        (4, 0, None, "video_too_short", "48 frames in 2.000 s (24.000 a second); with sample_stride 4 that is 12"),
        (60, 0, None, "video_too_short", "with sample_stride 60 that is 1, and at least 16"),
        (1, 0, 0.5, "video_too_short", "12 frames in 0.500 s"),
        (1, 2.5, None, "range_outside_video", "2.500 s to the end"),
        (1, 0, 3, "range_outside_video", "0.000 s to 3.000 s"),
        (1, 1, 0.5, "invalid_range", "ends at 0.500 s"),
    ],
)
def test_refusals_of_two_seconds(stride, start, end, code, words):
    times, duration = even(48, Fraction(24))
    error = refusal(lambda: sample(times, duration, stride, seconds(start), None if end is None else seconds(end)))
    assert error.code == code
    assert words in error.message
    assert error.hint


def test_the_hint_says_which_stride_would_do():
    times, duration = even(48, Fraction(24))
    assert "sample_stride to at most 3" in refusal(lambda: sample(times, duration, 4)).hint
    assert sample(times, duration, 3).num_frames == 16
    assert "at least 16 frames" in refusal(lambda: sample(times[:9], times[9], 2)).hint
    assert refusal(lambda: sample(times[:1], times[1], 1)).code == "video_too_short"


@pytest.mark.parametrize("rate", RATES)
def test_the_usual_rate_is_found_behind_a_rounded_clock(rate):
    times, _ = even(301, rate, Fraction(1, 1000))
    assert source_rate(301, times[-1]) == rate
