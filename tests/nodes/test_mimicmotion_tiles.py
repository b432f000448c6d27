"""Tiles by the published rules: worked examples, properties, and the weighted mean."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.mimicmotion.tiles import Fusion, Tile, plan_tiles, tile_weights


def frames_of(frames: int, tile: int, overlap: int) -> list[list[int]]:
    return [tile.frames for tile in plan_tiles(frames, tile, overlap)]


def test_the_published_examples():
    assert frames_of(72, 72, 6) == [list(range(72))]
    assert frames_of(10, 4, 2) == [[0, 1, 2, 3], [0, 3, 4, 5], [0, 5, 6, 7], [0, 7, 8, 9]]
    assert frames_of(9, 4, 2) == [[0, 1, 2, 3], [0, 3, 4, 5], [0, 5, 6, 7], [0, 6, 7, 8]]  # one more, for the last
    assert frames_of(138, 72, 6)[1] == [0, *range(67, 138)]
    assert frames_of(139, 72, 6)[1:] == [[0, *range(67, 138)], [0, *range(68, 139)]]  # fact 5: shifted by one
    assert frames_of(73, 72, 6) == [list(range(72)), [0, *range(2, 73)]]
    assert frames_of(5, 72, 6) == [[0, 1, 2, 3, 4]]  # the published pipeline fails


@given(st.integers(2, 300), st.integers(2, 80), st.integers(1, 79))
def test_every_frame_is_in_a_tile_of_one_length(frames, tile, overlap):
    if overlap >= min(tile, frames) < frames:
        with pytest.raises(MotionError):
            plan_tiles(frames, tile, overlap)
        return
    tiles = plan_tiles(frames, tile, overlap)
    assert {len(t.frames) for t in tiles} == {t.length for t in tiles} == {min(tile, frames)}
    assert set().union(*(t.frames for t in tiles)) == set(range(frames))
    assert len(set(tiles)) == len(tiles)


def test_too_short_is_refused():
    for frames, tile in ((1, 72), (20, 1)):
        with pytest.raises(MotionError, match="2 or more"):
            plan_tiles(frames, tile, 1)


def test_weights_are_the_published_ones():
    assert tile_weights(4).tolist() == [0.25, 0.75, 0.75, 0.25]
    assert torch.allclose(tile_weights(5), torch.tensor([0.2, 0.6, 1.0, 0.6, 0.2]))


def test_the_mean_is_weighted_by_position():
    """Frame 3 is last in the first tile (1/4) and second in the second (3/4); frame 0 is a plain mean."""
    fusion = Fusion(torch.zeros(6, 1, 1, 1))
    fusion.add(Tile(1, 4), torch.full((4, 1, 1, 1), 1.0))
    fusion.add(Tile(3, 6), torch.full((4, 1, 1, 1), 5.0))
    assert fusion.mean().flatten().tolist() == [3.0, 1.0, 1.0, 4.0, 5.0, 5.0]


def test_a_tile_picks_its_frames():
    values = torch.arange(10)
    assert Tile(4, 7).of(values).tolist() == [0, 4, 5, 6]
    assert Tile(1, 10).of(values) is values
