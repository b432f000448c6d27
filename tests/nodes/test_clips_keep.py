"""Kept clips: lossless, whole or not there, and noticed when they go."""

import json
import os
from fractions import Fraction

import pytest
import torch

from custom_nodes.comfy_motion.clips.keep import GivenOut, checked_name, find, keep, used
from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.video.frames import TensorFrames

NTSC = Fraction(24000, 1001)


@pytest.fixture
def frames():
    images = torch.randint(0, 256, (37, 24, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return TensorFrames(images, NTSC)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "kept" / "clip" / "abc123"


def nothing(done, total):
    pass


def test_what_is_kept_comes_back_bit_for_bit(frames, folder):
    seen = []
    given = keep(folder, frames, lambda done, total: seen.append((done, total)))
    assert seen == [(0, 37), (16, 37), (32, 37), (37, 37)]
    for kept in (given, find(folder)):
        assert kept is not None
        assert torch.equal(kept.read(0, 37), frames.images)
        assert torch.equal(kept.read(36, 37), frames.images[36:])
        assert (kept.width, kept.height, kept.num_frames, kept.fps) == (32, 24, 37, NTSC)
        assert all(path.parent == folder for path in kept.paths)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_stopped_while_writing_leaves_nothing(frames, folder):
    class Stop(BaseException):
        pass

    def stop(done, total):
        assert find(folder) is None
        if done:
            raise Stop

    with pytest.raises(Stop):
        keep(folder, frames, stop)
    assert list(folder.parent.iterdir()) == []


def shorten(folder):
    path = sorted(folder.glob("*.nut"))[1]
    path.write_bytes(path.read_bytes()[:-1])


def say(folder, **values):
    path = folder / "clip.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    "harm",
    [
        shorten,
        lambda folder: sorted(folder.glob("*.nut"))[0].unlink(),
        lambda folder: (folder / "clip.json").unlink(),
        lambda folder: (folder / "clip.json").write_text('{"width": 32, "hei'),
        lambda folder: (folder / "clip.json").write_text("[]"),
        lambda folder: say(folder, fps="0/0"),
        lambda folder: say(folder, files=None),
    ],
)
def test_a_damaged_one_counts_as_missing_and_is_replaced(frames, folder, harm):
    keep(folder, frames, nothing)
    harm(folder)
    assert find(folder) is None
    assert torch.equal(keep(folder, frames, nothing).read(0, 37), frames.images)


def test_remains_of_a_crash_are_cleared_away_once_they_are_old(frames, folder):
    old, new = folder.parent / ".aaa-1.part", folder.parent / ".bbb-2.part"
    for part in (old, new):
        part.mkdir(parents=True)
        (part / "window_0000.part").touch()
    os.utime(old, (0, 0))
    keep(folder, frames, nothing)
    assert not old.exists()
    assert new.exists()


def test_use_shows_in_the_folders_times(frames, folder):
    keep(folder, frames, nothing)
    for path in (folder, folder.parent):
        os.utime(path, (0, 0))
    used(folder)
    assert min(folder.stat().st_mtime, folder.parent.stat().st_mtime) > 1e9
    used(folder.parent / "gone")


def test_one_that_goes_is_counted_once_and_for_its_own_node(frames, folder):
    given = GivenOut()
    assert given.lost("node 1") == 0
    for name, node in (("one", "node 1"), ("two", "node 2"), ("three", "node 1")):
        keep(folder.with_name(name), frames, nothing)
        given.add(node, folder.with_name(name))
    assert (given.lost("node 1"), given.lost("node 2")) == (0, 0)
    (folder.with_name("one") / "clip.json").unlink()
    assert [given.lost("node 1"), given.lost("node 1"), given.lost("node 2")] == [1, 1, 0]
    keep(folder.with_name("one"), frames, nothing)
    assert given.lost("node 1") == 1


def test_names():
    for name in ("clip", "i2v-0a1B", "my_clip.2", "x" * 100):
        assert checked_name(name) == name
    for name in ("", ".", "..", ".hidden", "a/b", "a\\b", "a b", "ä", "a\n", "x" * 101, "../up"):
        with pytest.raises(MotionError, match="invalid_value"):
            checked_name(name)
