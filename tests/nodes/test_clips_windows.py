"""The plan of windows: every frame exactly once, in order, whatever the length."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.clips.windows import SHORTEN, ping_pong, plan_windows, whole_clip

LENGTHS = st.integers(1, 25).map(lambda n: 4 * n + 1)


@st.composite
def plans(draw):
    length = draw(LENGTHS)
    overlap = draw(st.sampled_from([o for o in (1, 5, 9) if o < length]))
    num_frames = draw(st.integers(1, 600))
    shorten = draw(st.sampled_from(SHORTEN))
    return num_frames, length, overlap, shorten, plan_windows(num_frames, length, overlap, shorten)


@given(plans())
def test_every_frame_is_kept_once_and_in_order(plan):
    num_frames, _, _, _, windows = plan
    assert [f for w in windows for f in w.kept] == list(range(num_frames))


@given(plans())
def test_windows_have_the_shape_the_vae_and_the_overlap_need(plan):
    num_frames, length, overlap, shorten, windows = plan
    for window in windows:
        assert window.length % 4 == 1
        assert window.overlap == (overlap if window.index else 0)
        assert window.keep >= 1
        assert window.overlap + window.keep <= window.length <= length
        assert len(window.frames) == window.length
        assert all(0 <= f < num_frames for f in window.frames)
        assert window.frames[window.overlap : window.overlap + window.keep] == list(window.kept)
        may_shrink = window is windows[-1] and (shorten == "last" or (shorten == "single" and len(windows) == 1))
        assert window.length == (whole_clip(window.overlap + window.keep) if may_shrink else length)
    for before, after in pairwise(windows):
        assert after.start + after.overlap == before.start + before.overlap + before.keep


@given(st.integers(1, 200), st.integers(0, 900))
def test_ping_pong_turns_at_both_ends_without_doubling_them(num_frames, upto):
    """The same walk frame by frame, in the words of the rule: turn round when an end is reached."""
    expected, at, step = [], 0, 1
    for _ in range(upto):
        expected.append(at)
        if num_frames > 1:
            if at + step not in range(num_frames):
                step = -step
            at += step
    assert ping_pong(range(upto), num_frames) == expected


@given(st.integers(6, 1000), st.sampled_from([1, 5]))
def test_never_shortened_is_the_authors_number_of_clips(num_frames, overlap):
    """The authors stretch the video to overlap + k * (77 - overlap) frames and run k clips."""
    padded = num_frames + (-(num_frames - overlap)) % (77 - overlap)
    windows = plan_windows(num_frames, 77, overlap, "never")
    assert len(windows) == (padded - overlap) // (77 - overlap)
    assert windows[-1].start + windows[-1].length == padded


def test_the_sample_of_164_frames():
    windows = plan_windows(164)
    assert [(w.start, w.length, w.overlap, w.keep) for w in windows] == [
        (0, 77, 0, 77),
        (72, 77, 5, 72),
        (144, 77, 5, 15),
    ]
    assert windows[-1].frames[18:22] == [162, 163, 162, 161]
    assert plan_windows(17)[0].length == 17
    assert plan_windows(17, shorten="never")[0].length == 77
    assert plan_windows(164, shorten="last")[-1].length == 21


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((0,), "num_frames"),
        ((9, 76), "length"),
        ((9, 77, 4), "overlap"),
        ((9, 5, 5), "overlap"),
        ((9, 5, 1, "no"), "shorten"),
    ],
)
def test_numbers_that_cannot_be_planned_are_named(arguments, word):
    with pytest.raises(ValueError, match=word):
        plan_windows(*arguments)
