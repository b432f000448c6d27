"""worker/probe.py: what a video really holds, and which range of it may be asked for."""

import struct

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import JobError
from worker.media import (
    VideoInfo,
    check_range,
    probe_video,
)

from .small_media import code_of, write_video

INFO = VideoInfo(width=1280, height=720, fps=24.0, num_frames=164, duration=164 / 24, has_audio=True)


def test_a_video_is_counted_by_its_packets(tmp_path):
    info = probe_video(write_video(tmp_path / "a.mp4", frames=13, sound=True))
    assert (info.width, info.height, info.num_frames, info.has_audio) == (96, 64, 13, True)
    assert info.fps == pytest.approx(24)
    assert info.duration == pytest.approx(13 / 24)
    assert probe_video(write_video(tmp_path / "b.mp4")).has_audio is False


def test_a_turned_video_has_its_seen_size(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    matrix = data.find(b"tkhd") + 44  # ISO/IEC 14496-12, 8.3.2
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 64 << 16, 0, 1 << 30)
    path.write_bytes(data)
    info = probe_video(path)
    assert (info.width, info.height) == (64, 96)


def test_frames_hidden_by_an_edit_list_are_not_counted(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    media_time = data.find(b"elst") + 16  # ISO/IEC 14496-12, 8.6.6: where in the media the first edit begins
    begin = struct.unpack_from(">i", data, media_time)[0] + 4 * 12288 // 24
    struct.pack_into(">i", data, media_time, begin)
    path.write_bytes(data)
    assert probe_video(path).num_frames == 8


def test_a_video_too_wide_to_decode_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        video = out.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 8208, 16, "yuv420p"
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 8208, 3), np.uint8), format="rgb24")
            frame.pts = index
            out.mux(video.encode(frame))
        out.mux(video.encode())
    assert code_of(lambda: probe_video(tmp_path / "a.mp4")).code == "too_large"


def test_matroska_is_read_too(tmp_path):
    info = probe_video(write_video(tmp_path / "a.mkv", frames=24), "matroska")
    assert info.num_frames == 24
    assert info.fps == pytest.approx(24, abs=0.05)


@pytest.mark.parametrize("frames", [1])
def test_one_frame_is_no_video(tmp_path, frames):
    assert code_of(lambda: probe_video(write_video(tmp_path / "a.mp4", frames=frames))).code == "video_too_short"


def test_sound_alone_is_no_video(tmp_path):
    path = write_video(tmp_path / "a.mp4", sound=True, picture=False, frames=24)
    assert code_of(lambda: probe_video(path)).code == "not_a_video"


@pytest.mark.parametrize("faststart", [False, True])
def test_a_cut_mp4_is_refused_wherever_its_index_is(tmp_path, faststart):
    path = write_video(tmp_path / "a.mp4", frames=24, faststart=faststart)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    error = code_of(lambda: probe_video(path))
    assert error.code == "video_unreadable"
    assert ("cut off" in error.message) == faststart


def test_a_cut_matroska_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mkv", frames=240)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert code_of(lambda: probe_video(path, "matroska")).code == "video_unreadable"


def test_a_video_whose_frames_do_not_decode_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=4)
    data = bytearray(path.read_bytes())
    start = data.find(b"mdat") + 4
    end = data.find(b"moov") - 4
    data[start:end] = b"\xff" * (end - start)
    path.write_bytes(data)
    assert code_of(lambda: probe_video(path)).code == "video_unreadable"


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        (None, None, (0, 164 / 24)),
        (1, 2.5, (1, 2.5)),
        (0, 164 / 24 + 0.04, (0, 164 / 24)),
        (6.7, None, (6.7, 164 / 24)),
    ],
)
def test_a_range_within_the_video_passes(start, end, found):
    assert check_range(INFO, start, end) == pytest.approx(found)


@pytest.mark.parametrize(
    ("start", "end", "code", "field"),
    [
        (3, 2, "invalid_range", "end_time"),
        (3, 3, "invalid_range", "end_time"),
        (-1, 2, "invalid_range", "start_time"),
        (float("nan"), 2, "invalid_range", "start_time"),
        (0, float("nan"), "invalid_range", "end_time"),
        (0, float("inf"), "invalid_range", "end_time"),
        (0, 6.9, "range_outside_video", "end_time"),
        (7, 8, "range_outside_video", "start_time"),
        (7, None, "range_outside_video", "start_time"),
        (1, 1.05, "video_too_short", "end_time"),
    ],
)
def test_a_range_that_cannot_be_is_refused(start, end, code, field):
    error = code_of(lambda: check_range(INFO, start, end))
    assert (error.code, error.field) == (code, field)


@given(st.floats(0, 20), st.floats(0, 20))
def test_a_range_that_passes_lies_within(start, end):
    try:
        first, last = check_range(INFO, start, end)
    except JobError:
        return
    assert 0 <= first < last <= INFO.duration
    assert (last - first) * INFO.fps >= 2 - 1e-6
