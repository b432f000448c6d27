"""Chunks cover every frame once, seams sum to one, tails are neither dropped nor padded."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.video.chunks import SHORTEST, Chunk, crossfade, plan_chunks


@st.composite
def plans(draw):
    length = draw(st.integers(1, 90))
    return draw(st.integers(1, 400)), length, draw(st.integers(0, length // 2))


def weights(total: int, chunks: list[Chunk]) -> list[dict[int, int]]:
    """For every frame, the share of each chunk in 1/(fade+1), by the documented rule."""
    shares: list[dict[int, int]] = [{} for _ in range(total)]
    for k, chunk in enumerate(chunks):
        last_fade = chunks[k + 1].fade if k + 1 < len(chunks) else 0
        for frame in range(chunk.shown, chunk.stop):
            into, left = frame - chunk.shown + 1, chunk.stop - frame
            shares[frame][k] = into if into <= chunk.fade else left if left <= last_fade else 0
    return shares


@given(plans())
def test_every_frame_is_shown_exactly_once(plan):
    total, _, overlap = plan
    chunks = plan_chunks(*plan)
    for frame, shares in enumerate(weights(total, chunks)):
        assert 1 <= len(shares) <= 2, frame
        if len(shares) == 2:
            assert sum(shares.values()) == overlap + 1, (frame, shares)
        else:
            assert list(shares.values()) == [0], (frame, "a fade without its other half")
    assert (chunks[0].start, chunks[0].fade, chunks[0].skip) == (0, 0, 0)
    assert chunks[-1].stop == total


@given(plans())
def test_no_chunk_is_too_short_or_too_long_and_neighbours_share_the_fade(plan):
    total, length, overlap = plan
    chunks = plan_chunks(*plan)
    assert all(min(total, length, SHORTEST) <= chunk.num_frames <= length for chunk in chunks)
    assert all(chunk.num_frames == length for chunk in chunks[:-1])
    for before, chunk in pairwise(chunks):
        assert chunk.fade == overlap == before.stop - chunk.shown
        assert chunk.skip == 0 or chunk is chunks[-1]


@given(plans(), st.integers(1, 500))
def test_earlier_chunks_do_not_depend_on_the_end(plan, more):
    total, length, overlap = plan
    chunks = plan_chunks(*plan)
    assert plan_chunks(total + more, length, overlap)[: len(chunks) - 1] == chunks[:-1]


@pytest.mark.parametrize(
    ("total", "chunks"),
    [
        (72, [Chunk(0, 72)]),
        (73, [Chunk(0, 72), Chunk(57, 73, fade=8, skip=7)]),
        (136, [Chunk(0, 72), Chunk(64, 136, fade=8)]),
        (12, [Chunk(0, 12)]),
    ],
)
def test_counted_by_hand(total, chunks):
    assert plan_chunks(total, 72, 8) == chunks


@pytest.mark.parametrize(("total", "length", "overlap"), [(0, 72, 8), (9, 0, 0), (9, 16, 9), (9, 16, -1)])
def test_a_plan_that_cannot_be_made_is_refused(total, length, overlap):
    with pytest.raises(ValueError, match=f"{length} frames that share {overlap}"):
        plan_chunks(total, length, overlap)


@given(st.integers(1, 9), st.integers(0, 255), st.integers(0, 255))
def test_the_crossfade_is_linear_and_rounded_to_the_nearest(n, a, b):
    earlier, later = (torch.full((n, 2, 2, 3), value, dtype=torch.uint8) for value in (a, b))
    mixed = crossfade(earlier, later)
    wanted = [a + (b - a) * (i + 1) / (n + 1) for i in range(n)]
    assert mixed.dtype == torch.uint8
    assert all(abs(float(mixed[i, 1, 1, 2]) - wanted[i]) <= 0.5 + 1e-6 for i in range(n))


def test_a_crossfade_of_equal_frames_changes_nothing():
    frames = torch.randint(0, 256, (8, 4, 4, 3), dtype=torch.uint8)
    assert torch.equal(crossfade(frames, frames), frames)


def test_a_crossfade_of_two_sizes_is_refused():
    with pytest.raises(ValueError, match="one shape"):
        crossfade(torch.zeros(8, 4, 4, 3, dtype=torch.uint8), torch.zeros(7, 4, 4, 3, dtype=torch.uint8))
