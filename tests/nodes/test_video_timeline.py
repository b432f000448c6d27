"""timeline.py: exact, monotone, inside, and the identity where the rates agree."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.video.timeline import CLOCK_GRACE, exact_rate, resample, seconds

RATES = [Fraction(n) for n in (12, 15, 24, 25, 30, 48, 50, 60)] + [Fraction(24000, 1001), Fraction(30000, 1001)]


def even(count: int, rate: Fraction) -> tuple[list[Fraction], Fraction]:
    return [i / rate for i in range(count)], count / rate


@pytest.mark.parametrize("rate", RATES)
def test_the_same_rate_is_the_identity(rate):
    assert resample(*even(164, rate), rate).indices == tuple(range(164))


@pytest.mark.parametrize("tick", [Fraction(1, 1000), Fraction(1, 90000), Fraction(1, 12288)])
def test_the_same_rate_is_the_identity_on_a_rounded_clock(tick):
    rate = Fraction(24)
    times = [round(i / rate / tick) * tick for i in range(200)]
    assert resample(times, 200 / rate, rate).indices == tuple(range(200))


def test_30_to_24_drops_every_fifth():
    plan = resample(*even(60, Fraction(30)), Fraction(24))
    assert plan.indices == tuple(i * 30 // 24 for i in range(48))
    assert plan.end == 2


def test_12_to_24_repeats_every_frame():
    assert resample(*even(5, Fraction(12)), Fraction(24)).indices == (0, 0, 1, 1, 2, 2, 3, 3, 4, 4)


def test_variable_rate_shows_what_a_player_shows():
    times = [Fraction(0), Fraction(1, 10), Fraction(1, 2), Fraction(9, 10)]
    assert resample(times, Fraction(1), Fraction(10)).indices == (0, 1, 1, 1, 1, 2, 2, 2, 2, 3)


def test_a_range_counts_from_its_start():
    plan = resample(*even(240, Fraction(24)), Fraction(24), seconds(2.5), seconds(4.0))
    assert plan.indices == tuple(range(60, 96))
    assert (plan.start, plan.end) == (Fraction(5, 2), 4)


def test_an_end_less_than_a_frame_beyond_the_end_is_the_end():
    assert resample(*even(48, Fraction(24)), Fraction(24), end_time=seconds(2.04)).num_frames == 48


@pytest.mark.parametrize(
    ("start", "end", "code"),
    [
        (2.0, None, "range_outside_video"),
        (-0.1, None, "range_outside_video"),
        (0.0, 2.05, "range_outside_video"),
        (3.0, 4.0, "range_outside_video"),
        (1.0, 1.0, "invalid_range"),
        (1.0, 0.5, "invalid_range"),
        (1.0, 1.04, "video_too_short"),
        (1.96, None, "video_too_short"),
    ],
)
def test_refusals_of_two_seconds(start, end, code):
    with pytest.raises(MotionError) as refusal:
        resample(*even(48, Fraction(24)), Fraction(24), seconds(start), None if end is None else seconds(end))
    assert refusal.value.code == code
    assert refusal.value.hint


def test_one_frame_shown_long_is_still_one_frame():
    with pytest.raises(MotionError) as refusal:
        resample([Fraction(0)], Fraction(5), Fraction(24))
    assert refusal.value.code == "video_too_short"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (24.0, Fraction(24)),
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (12.5, Fraction(25, 2)),
        (25.0, Fraction(25)),
        (Fraction(30000, 1001), Fraction(30000, 1001)),
    ],
)
def test_rates_as_typed(typed, meant):
    assert exact_rate(typed) == meant


def player_shows(times: list[Fraction], time: Fraction) -> int:
    """The frame on the screen at `time`, by looking at every one."""
    return max([i for i, begins in enumerate(times) if begins <= time + CLOCK_GRACE], default=0)


ticks = Fraction(1, 720)


@given(steps=st.lists(st.integers(3, 180), min_size=2, max_size=60), rate=st.sampled_from(RATES), data=st.data())
def test_properties(steps, rate, data):
    """Rising, inside the video, what a player shows, and as many as the range holds; refused only where it is due."""
    times = [sum(steps[:i]) * ticks for i in range(len(steps))]
    duration = sum(steps) * ticks
    start = data.draw(st.integers(0, sum(steps))) * ticks
    end = data.draw(st.none() | st.integers(0, sum(steps)).map(lambda value: value * ticks))
    length = (duration if end is None else end) - start
    shown = [player_shows(times, start + i / rate) for i in range(max(0, floor(length * rate + Fraction(1, 2))))]
    due = {
        "invalid_range": end is not None and end <= start,
        "range_outside_video": start >= duration,
        "video_too_short": len(set(shown)) < 2,
    }
    if any(due.values()):
        with pytest.raises(MotionError) as refusal:
            resample(times, duration, rate, start, end)
        assert due[refusal.value.code]
        return
    plan = resample(times, duration, rate, start, end)
    assert length > 0
    assert plan.indices == tuple(shown)
    assert list(shown) == sorted(shown)
    assert len(set(shown)) >= 2
    assert 0 <= shown[0] <= shown[-1] < len(times)
    assert abs(plan.num_frames / rate - length) <= 1 / (2 * rate)
    assert plan.end == plan.start + plan.num_frames / rate
