"""Which steps of a voice each frame and each latent frame hears, against the rule told as plain loops."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.talk.audio_windows import latent_steps, window_positions
from custom_nodes.comfy_motion.talk.features import VoiceFeatures


def heard_by_frame(frame: int, num_frames: int, mirrored: bool) -> list[int]:
    """Frame and its two neighbours either way; outside the sound its ends, or the way back."""
    steps = []
    for step in (frame - 2, frame - 1, frame, frame + 1, frame + 2):
        if mirrored and step >= num_frames:
            past = step - num_frames  # 0: the first step that is missing, for which the last one stands again
            step = num_frames - 1 - past
        steps.append(min(max(step, 0), num_frames - 1))
    return steps


def heard_by_latents(start: int, length: int, num_frames: int, mirrored: bool) -> list[list[int]]:
    """One list for each latent frame: 5 steps, then 8 each."""
    latents = [heard_by_frame(start, num_frames, mirrored)]
    for first in range(start + 1, start + length, 4):
        a, b, c, d = (heard_by_frame(first + k, num_frames, mirrored) for k in range(4))
        latents.append([a[0], a[1], a[2], b[2], c[2], d[2], d[3], d[4]])
    return latents


@given(start=st.integers(0, 300), latents=st.integers(1, 51), num_frames=st.integers(1, 400), mirrored=st.booleans())
def test_steps_are_those_of_the_rule(start, latents, num_frames, mirrored):
    length = 4 * latents - 3
    positions = window_positions(start, length, num_frames, mirrored)
    assert positions.tolist() == [heard_by_frame(start + k, num_frames, mirrored) for k in range(length)]
    first, later = latent_steps(positions)
    assert [*first.tolist(), *later.tolist()] == heard_by_latents(start, length, num_frames, mirrored)


def test_the_ends_in_numbers():
    assert window_positions(0, 2, 100, False).tolist() == [[0, 0, 0, 1, 2], [0, 0, 1, 2, 3]]
    assert window_positions(98, 3, 100, False)[-1].tolist() == [98, 99, 99, 99, 99]
    # The published code mirrors features: 98, 99 | 99, 98, 97.
    mirrored = window_positions(98, 3, 100, True).tolist()
    assert mirrored == [[96, 97, 98, 99, 99], [97, 98, 99, 99, 98], [98, 99, 99, 98, 97]]


def test_the_middle_in_numbers():
    first, later = latent_steps(window_positions(16, 9, 100, False))
    assert first.tolist() == [[14, 15, 16, 17, 18]]
    assert later.tolist() == [[15, 16, 17, 18, 19, 20, 21, 22], [19, 20, 21, 22, 23, 24, 25, 26]]


@pytest.mark.parametrize("wrong", ["off_by_one", "not_clamped", "not_mirrored", "first_like_the_others", "inner_first"])
def test_a_wrong_rule_shows(wrong):
    """What a mistake would give is not what ours gives: the comparison above can fail."""
    start, length, total = 92, 9, 100
    latents = heard_by_latents(start, length, total, True)
    broken = {
        "off_by_one": heard_by_latents(start + 1, length, total, True),
        "not_clamped": [list(range(start - 2, start + 3)), *latents[1:-1], list(range(start + 3, start + 11))],
        "not_mirrored": heard_by_latents(start, length, total, False),
        "first_like_the_others": [[start - 2, start - 1, *[start] * 4, start + 1, start + 2], *latents[1:]],
        "inner_first": [latents[0], *[[*s[:3], s[3] - 2, s[4] - 2, *s[5:]] for s in latents[1:]]],
    }[wrong]
    first, later = latent_steps(window_positions(start, length, total, True))
    assert [*first.tolist(), *later.tolist()] == latents != broken


@pytest.mark.parametrize("length", [2, 4, 80, 100])
def test_a_window_is_4n_plus_1(length):
    with pytest.raises(ValueError, match="multiple of 4 plus 1"):
        latent_steps(window_positions(0, length, 300, False))


def test_nothing_to_hear_is_refused():
    with pytest.raises(ValueError, match="hears nothing"):
        window_positions(0, 5, 0, False)


def test_features_are_read_by_range(tmp_path):
    import numpy as np

    kept = np.random.default_rng(3).normal(size=(2, 3, 11, 4)).astype(np.float32)  # voices, layers, frames, channels
    paths = (tmp_path / "1", tmp_path / "2")
    for path, one in zip(paths, kept, strict=True):
        one.tofile(path)
    features = VoiceFeatures(paths, num_frames=11, layers=3, channels=4)
    for voice in (0, 1):
        for start, stop in ((0, 11), (0, 1), (10, 11), (4, 7), (5, 5)):
            expected = kept[voice].transpose(1, 0, 2)[start:stop]
            assert np.array_equal(features.read(voice, start, stop).numpy(), expected)
    for voice, start, stop in ((2, 0, 1), (-1, 0, 1), (0, -1, 1), (0, 4, 12), (0, 3, 2)):
        with pytest.raises(ValueError, match="there are 2 of 11"):
            features.read(voice, start, stop)
