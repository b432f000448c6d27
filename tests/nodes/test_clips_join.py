"""Joining and matching clips: lazily, frame by frame what was put in."""

from fractions import Fraction

import av
import pytest
import torch

from custom_nodes.comfy_motion.clips.join import JoinedFrames
from custom_nodes.comfy_motion.clips.matched import ColourMatched, match_colour
from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.video.colour_match import match
from custom_nodes.comfy_motion.video.frames import Frames, TensorFrames, to_float, to_uint8
from custom_nodes.comfy_motion.video.segments import SegmentWriter
from custom_nodes.comfy_motion.video.writer import write_mp4

from .video_samples import numbered, numbers_in


def clip(first: int, count: int, fps: int = 16) -> TensorFrames:
    return TensorFrames(
        torch.stack([torch.from_numpy(numbered(first + i, 320, 176)) for i in range(count)]), Fraction(fps)
    )


class Watched(TensorFrames):
    """Remembers which frames were asked for."""

    def __init__(self, frames: TensorFrames):
        super().__init__(frames.images, frames.fps)
        self.asked: list[tuple[int, int]] = []

    def read(self, start, stop):
        self.asked.append((start, stop))
        return super().read(start, stop)


@pytest.mark.parametrize("drop", [0, 1, 3])
@pytest.mark.parametrize("size", [1, 3, 16])
def test_joined_is_one_after_the_other(drop, size):
    joined = JoinedFrames(clip(0, 5), clip(10, 4, fps=24), drop)
    read = torch.cat(list(joined.chunks(size)))
    assert numbers_in(read) == [0, 1, 2, 3, 4, *range(10 + drop, 14)]
    assert (joined.num_frames, joined.fps) == (9 - drop, 16)
    with pytest.raises(IndexError):
        joined.read(0, 10 - drop)


def test_a_chain_reads_only_what_is_asked():
    parts = [Watched(clip(10 * i, 4)) for i in range(4)]
    joined: Frames = parts[0]
    for part in parts[1:]:
        joined = JoinedFrames(joined, part, 1)
    assert [part.asked for part in parts] == [[]] * 4
    assert numbers_in(joined.read(3, 6)) == [3, 11, 12]
    assert [part.asked for part in parts] == [[(3, 4)], [(1, 3)], [], []]


def test_what_does_not_fit_together_is_refused():
    small = TensorFrames(torch.zeros(4, 8, 8, 3, dtype=torch.uint8))
    with pytest.raises(MotionError, match=r"invalid_value.*8x8"):
        JoinedFrames(clip(0, 2), small)
    with pytest.raises(MotionError, match=r"drop is 4"):
        JoinedFrames(small, small, 4)


def test_two_joined_segments_become_an_mp4_of_all_their_frames(tmp_path):
    pieces = []
    for number, count in enumerate((9, 13)):
        writer = SegmentWriter(320, 176, Fraction(16), tmp_path / str(number))
        writer.folder.mkdir()
        for chunk in clip(20 * number, count).chunks(4):
            writer.append(chunk)
        pieces.append(writer.frames())
    written = write_mp4(tmp_path / "out.mp4", JoinedFrames(*pieces, 1))
    assert written.num_frames == 21
    with av.open(str(tmp_path / "out.mp4")) as video:
        numbers = numbers_in(frame.to_ndarray(format="rgb24") for frame in video.decode(video=0))
    assert numbers == [*range(9), *range(21, 33)]


def scene(frames: int) -> torch.Tensor:
    where = torch.linspace(0, 6, 32) + torch.linspace(0, 3, 24)[:, None]
    moving = torch.stack([torch.sin(where + 0.2 * n) for n in range(frames)]).unsqueeze(-1)
    return 0.5 + moving * torch.tensor([0.15, 0.10, 0.12])


def test_a_cast_is_taken_out_of_every_frame():
    true = scene(9)
    cast = (true - 0.5) * torch.tensor([1.1, 0.9, 1.05]) + 0.5 + torch.tensor([0.05, -0.04, 0.02])
    frames = Watched(TensorFrames(to_uint8(cast)))
    matched = match_colour(frames, true[:1], 1.0)
    assert frames.asked == [(0, 1)]  # measured in the first frame, when the node runs
    assert (cast[8] - true[8]).abs().max() > 0.04
    assert (to_float(matched.read(0, 9)) - true).abs().max() < 1.5 / 255
    half = to_float(match_colour(frames, true[:1], 0.5).read(8, 9))[0]
    assert 0.3 < float((half - true[8]).abs().mean() / (cast[8] - true[8]).abs().mean()) < 0.7


def test_the_table_is_the_match_itself():
    values = torch.arange(256, dtype=torch.uint8)[None, None, :, None].expand(1, 1, 256, 3).contiguous()
    change = match(scene(1), scene(3)[2:] * 1.3 - torch.tensor([0.1, 0.0, -0.2]))
    assert torch.equal(
        ColourMatched(TensorFrames(values), change).read(0, 1), to_uint8(change.apply_(to_float(values)))
    )


def test_strength_0_gives_the_same_frames_and_alpha_is_left_out():
    frames = Watched(TensorFrames(to_uint8(scene(3))))
    assert match_colour(frames, torch.zeros(1, 5, 5, 3), 0.0) is frames
    assert frames.asked == []
    with_alpha = torch.cat([scene(1), torch.rand(1, 24, 32, 1)], -1)
    same = [match_colour(frames, reference, 1.0).read(0, 3) for reference in (scene(1), with_alpha)]
    assert torch.equal(*same)


def test_a_reference_of_another_size_is_refused():
    with pytest.raises(MotionError, match=r"invalid_value.*64x24.*32x24"):
        match_colour(TensorFrames(to_uint8(scene(3))), torch.zeros(1, 24, 64, 3), 1.0)
    with pytest.raises(MotionError, match="strength"):
        match_colour(TensorFrames(to_uint8(scene(3))), scene(1), 2.0)
