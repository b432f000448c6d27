"""reader.py in order and by jumps: what is decoded, what is kept, and what is let go again."""

import gc
import warnings
from fractions import Fraction

import pytest

from custom_nodes.comfy_motion.video.index import scan

from .video_reading import B_FRAMES, all_numbers, frames_of
from .video_samples import numbered_video, numbers_in


def test_reading_in_order_decodes_every_frame_once(tmp_path):
    """One key frame for all: a reader that seeks for every window would decode far more."""
    path = numbered_video(tmp_path / "one_gop.mp4", 100, options={**B_FRAMES, "g": "1000"})
    frames = frames_of(path)
    for start in range(0, 96, 12):
        stop = min(start + 17, 100)
        assert numbers_in(frames.read(start, stop)) == list(range(start, stop))
    assert frames.frames_decoded <= 100


def test_repeated_frames_are_decoded_once_and_are_equal(tmp_path):
    path = numbered_video(tmp_path / "slow.mp4", 20, rate=Fraction(6))
    frames = frames_of(path)
    assert all_numbers(frames) == [i // 4 for i in range(80)]
    assert frames.frames_decoded == 20


def test_a_second_reader_close_behind_costs_nothing(tmp_path):
    path = numbered_video(tmp_path / "one_gop.mp4", 64, options={**B_FRAMES, "g": "1000"})
    frames = frames_of(path)
    for start in range(0, 64, 16):
        assert numbers_in(frames.read(start, start + 16)) == numbers_in(frames.read(start, start + 16))
    assert frames.frames_decoded == 64


def test_seeking_does_not_decode_from_the_beginning(tmp_path):
    for name in ("keys.mp4", "keys.mkv"):
        path = numbered_video(tmp_path / name, 200, options=B_FRAMES)
        frames = frames_of(path)
        assert numbers_in(frames.read(150, 152)) == [150, 151]
        assert frames.frames_decoded < 30


def test_close_is_final_for_nothing_and_leaves_no_handle(tmp_path):
    path = numbered_video(tmp_path / "plain.mp4", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        frames = frames_of(path)
        frames.read(0, 3)
        frames.close()
        frames.close()
        assert numbers_in(frames.read(2, 5)) == [2, 3, 4]
        del frames
        gc.collect()


def test_frames_are_freed_at_once(tmp_path):
    """Nothing that was decoded waits for the garbage collector: what it finds does not grow with the video."""
    frames = frames_of(numbered_video(tmp_path / "plain.mp4", 60))
    frames.read(0, 2)
    gc.disable()
    try:
        gc.collect()
        frames.read(2, 60)
        assert gc.collect() < 20
    finally:
        gc.enable()


def test_outside_is_an_index_error(tmp_path):
    frames = frames_of(numbered_video(tmp_path / "plain.mp4", 10))
    assert frames.read(3, 3).shape == (0, 180, 320, 3)
    for start, stop in ((-1, 2), (5, 11), (4, 3)):
        with pytest.raises(IndexError):
            frames.read(start, stop)


def test_the_kept_pictures_are_not_handed_out(tmp_path):
    frames = frames_of(numbered_video(tmp_path / "plain.mp4", 4))
    frames.read(0, 4).zero_()
    assert numbers_in(frames.read(0, 4)) == [0, 1, 2, 3]


def test_the_scan_decodes_nothing_and_knows_the_duration(tmp_path):
    index = scan(numbered_video(tmp_path / "b.mp4", 50, rate=Fraction(25), options=B_FRAMES))
    assert index.duration == 2
    assert [float(time) for time in index.times] == [i / 25 for i in range(50)]
    assert [number for number, _ in index.keys][:2] == [0, 12]
