"""segments.py: windows on disk, back bit for bit, read by ranges of the whole."""

from fractions import Fraction

import pytest
import torch

from custom_nodes.comfy_motion.video.segments import SegmentWriter


def noise(count: int, width: int, height: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (16, 16), (641, 359), (2, 2), (1280, 720)])
def test_windows_come_back_exactly(tmp_path, width, height):
    video = torch.cat([noise(3, width, height), torch.full((2, height, width, 3), 255, dtype=torch.uint8)])
    writer = SegmentWriter(width, height, Fraction(24000, 1001), tmp_path)
    writer.append(video[:4])
    writer.append(video[4:])
    frames = writer.frames()
    assert (frames.num_frames, frames.width, frames.height, frames.fps) == (5, width, height, Fraction(24000, 1001))
    assert torch.equal(frames.read(0, 5), video)


def test_any_range_across_windows(tmp_path):
    video = noise(40, 64, 48)
    writer = SegmentWriter(64, 48, Fraction(24), tmp_path)
    for start, stop in ((0, 17), (17, 18), (18, 31), (31, 40)):
        writer.append(video[start:stop])
    frames = writer.frames()
    assert torch.equal(torch.cat(list(frames.chunks(7))), video)
    for start, stop in ((0, 40), (39, 40), (16, 19), (30, 32), (5, 6), (12, 12), (0, 1)):
        assert torch.equal(frames.read(start, stop), video[start:stop])
    with pytest.raises(IndexError):
        frames.read(38, 41)
    frames.close()


def test_a_window_is_on_disk_when_append_returns(tmp_path):
    writer = SegmentWriter(64, 48, Fraction(24), tmp_path)
    path = writer.append(noise(5, 64, 48))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    first = writer.frames()
    writer.append(noise(3, 64, 48, seed=1))
    assert (first.num_frames, writer.num_frames, writer.frames().num_frames) == (5, 8, 8)
    assert torch.equal(first.read(0, 5), noise(5, 64, 48))


def test_natural_pictures_take_a_fraction_of_the_disk(tmp_path):
    ramp = torch.linspace(0, 255, 320)[None, None, :, None] + torch.arange(8)[:, None, None, None]
    video = ramp.expand(8, 180, 320, 3).clamp(0, 255).to(torch.uint8)
    path = SegmentWriter(320, 180, Fraction(24), tmp_path).append(video)
    assert path.stat().st_size < video.numel() / 4


def test_a_failed_window_leaves_no_file(tmp_path, monkeypatch):
    writer = SegmentWriter(64, 48, Fraction(24), tmp_path)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        writer.append(noise(2, 64, 48))
    assert list(tmp_path.iterdir()) == []
    assert writer.num_frames == 0


@pytest.mark.parametrize("bad", [noise(2, 32, 48), noise(2, 64, 48).float(), noise(0, 64, 48)])
def test_a_window_of_another_shape_is_refused(tmp_path, bad):
    with pytest.raises(ValueError, match="uint8"):
        SegmentWriter(64, 48, Fraction(24), tmp_path).append(bad)
