"""Kept chunks read as one video: every frame once, crossfaded where two chunks have it."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_nodes.comfy_motion.video.chunks import crossfade, plan_chunks
from custom_nodes.comfy_motion.video.frames import TensorFrames
from tests.engine.comfy_import import import_comfyui

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module", autouse=True)
def comfyui(tmp_path_factory):
    import_comfyui(tmp_path_factory.mktemp("comfyui"))


def clip(frames: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (frames, 1, 2, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@settings(deadline=None)
@given(st.data())
def test_any_part_is_that_of_the_blended_whole(data):
    from custom_nodes.comfy_motion.mimicmotion.chunked import ChunkedFrames

    length, total = data.draw(st.integers(4, 30)), data.draw(st.integers(1, 90))
    chunks = plan_chunks(total, length, data.draw(st.integers(0, length // 2)))
    clips = [clip(chunk.num_frames, number) for number, chunk in enumerate(chunks)]
    whole = clips[0]
    for chunk, made in zip(chunks[1:], clips[1:], strict=True):
        new = made[chunk.skip :]
        whole = torch.cat([whole[: chunk.shown], crossfade(whole[chunk.shown :], new[: chunk.fade]), new[chunk.fade :]])
    assert len(whole) == total
    frames = ChunkedFrames(chunks, [TensorFrames(made, Fraction(15)) for made in clips], Fraction(15))
    start = data.draw(st.integers(0, total))
    stop = data.draw(st.integers(start, total))
    assert torch.equal(frames.read(start, stop), whole[start:stop])
    assert torch.equal(torch.cat(list(frames.chunks(7))), whole)


def test_a_crossfade_is_at_most_half_a_chunk():
    from custom_nodes.comfy_motion.mimicmotion.chunked import Plan

    assert [chunk.fade for chunk in Plan(num_frames=16).chunks(40)] == [0, 7, 7, 7, 7]
    assert [(chunk.start, chunk.stop) for chunk in Plan().chunks(100)] == [(0, 71), (63, 100)]
