"""worker/timeline.py comes to the poses, the chunks and the written frames that the nodes of MimicMotion will give."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.video import chunks, stride, timeline
from custom_nodes.comfy_motion.video.frames import Frames
from custom_nodes.comfy_motion.video.retime import RetimedFrames
from tests.nodes.video_reading import B_FRAMES
from tests.nodes.video_samples import hide_first_frames, numbered_video
from worker.errors import JobError
from worker.operations.mimicmotion import CROSSFADE
from worker.probe import VideoInfo, probe_video
from worker.timeline import SHORTEST, count_chunks, frames_retimed, frames_sampled

CLOCKS = st.sampled_from([1000, 12800, 90000, 24000, 30000, 1_000_000, 15360, 600])


class Counted(Frames):
    """So many frames, never read."""

    def __init__(self, count: int, fps: Fraction):
        self.num_frames, self.fps, self.width, self.height = count, fps, 2, 2

    def read(self, start, stop):
        raise AssertionError("not to be read")


def same(info, times, duration, step, start, end, most, fps):
    """Both plans, compared; whether there was one."""
    try:
        plan = stride.sample(times, duration, step, timeline.seconds(start), end and timeline.seconds(end), most)
    except MotionError:
        with pytest.raises(JobError) as error:
            frames_sampled(info, step, start, end, most)
        assert error.value.code in ("video_too_short", "range_outside_video", "invalid_range")
        return False
    sampled = frames_sampled(info, step, start, end, most)
    assert (sampled.num_frames, sampled.rate) == (plan.num_frames, plan.fps * step)
    assert sampled.length == plan.end - plan.start
    length = timeline.seconds(float(plan.end - plan.start))  # as the node's FLOAT has it
    retimed = RetimedFrames(Counted(plan.num_frames, plan.fps), timeline.exact_rate(fps), length)
    assert frames_retimed(sampled.length, fps) == retimed.num_frames
    return True


STRIDES, RATES = st.integers(1, 4), st.sampled_from([7, 12.5, 15, 23.976, 24, 25, 29.97, 30]) | st.floats(7, 30)


@given(
    clock=CLOCKS,
    steps=st.lists(st.integers(50, 5000), min_size=20, max_size=90),
    step=STRIDES,
    fps=RATES,
    start=st.integers(0, 900),
    length=st.none() | st.integers(500, 9000),
    most=st.sampled_from([0, 15, 47, 71]),
)
def test_the_same_for_any_spacing_of_frames(clock, steps, step, fps, start, length, most):
    times = [Fraction(sum(steps[:i]), clock) for i in range(len(steps))]
    duration = Fraction(sum(steps), clock)
    info = VideoInfo(64, 64, float((len(steps) - 1) / times[-1]), len(steps), float(duration), False)
    end = None if length is None else (start + length) / 1000
    same(info, times, duration, step, start / 1000, end, most, fps)


@given(
    clock=CLOCKS,
    rate=st.sampled_from([Fraction(n) for n in (15, 24, 25, 30, 48, 50, 60)] + [Fraction(24000, 1001)]),
    count=st.integers(2, 900),
    step=STRIDES,
    fps=RATES,
    most=st.sampled_from([0, 71]),
)
def test_the_same_for_constant_rates_on_rounded_clocks(clock, rate, count, step, fps, most):
    times = [Fraction(round(i / rate * clock), clock) for i in range(count + 1)]
    *times, duration = times
    info = VideoInfo(64, 64, float((count - 1) / times[-1]), count, float(duration), False)
    found = same(info, times, duration, step, 0.0, None, most, fps)
    assert found == (-(-count // step) >= SHORTEST)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(25), Fraction(48), Fraction(60)])
def test_the_same_for_real_files(tmp_path, suffix, rate):
    path = numbered_video(tmp_path / f"a.{suffix}", 90, rate=rate, options=B_FRAMES)
    if suffix == "mp4":
        hide_first_frames(path, 3)
    info = probe_video(path, {"mp4": "mov", "mkv": "matroska"}[suffix])
    for step in (1, 2, 4):
        frames = stride.SampledFrames(path, step, Fraction(1, 4))
        sampled = frames_sampled(info, step, 0.25, None)
        assert (sampled.num_frames, sampled.length) == (frames.num_frames, frames.length)
        assert frames_retimed(sampled.length, 15) == RetimedFrames(frames, Fraction(15), frames.length).num_frames


@given(total=st.integers(1, 3000), length=st.integers(15, 90))
def test_the_same_number_of_chunks(total, length):
    overlap = min(CROSSFADE, length // 2)
    assert count_chunks(total, length, overlap) == len(chunks.plan_chunks(total, length, overlap))


@pytest.mark.parametrize(
    ("count", "step", "field", "words"),
    [
        (48, 4, "sample_stride", "48 frames in 2.000 s (24.000 a second); with sample_stride 4 that is 12, and"),
        (12, 1, None, "12 frames in 0.500 s"),
        (20, 4, "sample_stride", "with sample_stride 4 that is 5"),
    ],
)
def test_too_few_poses_are_told_with_their_numbers(count, step, field, words):
    info = VideoInfo(64, 64, 24.0, count, count / 24, False)
    with pytest.raises(JobError) as error:
        frames_sampled(info, step, 0, None)
    assert (error.value.code, error.value.field) == ("video_too_short", field)
    assert words in error.value.message
    assert error.value.hint


def test_both_know_the_same_shortest():
    assert SHORTEST == chunks.SHORTEST
