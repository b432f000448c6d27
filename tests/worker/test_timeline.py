"""worker/timeline.py and probe.py come to the frames and the sound that the node "Resample driving video" will give."""

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.video import timeline as node
from custom_nodes.comfy_motion.video.index import scan
from custom_nodes.comfy_motion.video.sound import find_sound
from tests.nodes.video_reading import B_FRAMES
from tests.nodes.video_samples import hide_first_frames, numbered_video, without_first_packets
from worker.errors import JobError
from worker.probe import VideoInfo, probe_video
from worker.timeline import exact_rate, frames_in_range

from .small_media import write_video

RATES = st.sampled_from([1, 8, 12.5, 15, 16, 23.976, 23.98, 24, 25, 29.97, 30, 48, 59.94, 60]) | st.floats(1, 60)


@given(fps=RATES)
def test_the_same_rate_is_meant(fps):
    assert exact_rate(fps) == node.exact_rate(fps)


@given(
    clock=st.sampled_from([1000, 12800, 90000, 24000, 30000, 1_000_000, 15360, 600]),
    steps=st.lists(st.integers(1, 5000), min_size=3, max_size=40),
    fps=RATES,
    start=st.integers(0, 3000),
    length=st.none() | st.integers(1, 4000),
)
def test_the_same_count_for_any_spacing_of_frames(clock, steps, fps, start, length):
    """Variable frame rates included: the last step is the last frame's duration."""
    times = [Fraction(sum(steps[:i]), clock) for i in range(len(steps))]
    duration = Fraction(sum(steps), clock)
    average = (len(steps) - 1) / float(times[-1])
    info = VideoInfo(64, 64, average, len(steps), float(duration), False)
    start_s, end_s = start / 1000, None if length is None else (start + length) / 1000
    try:
        counted = frames_in_range(info, fps, start_s, end_s)
        end = None if end_s is None else node.seconds(end_s)
        planned = node.resample(times, duration, node.exact_rate(fps), node.seconds(start_s), end)
    except (JobError, MotionError):
        return  # refused by one of the two: never a video of another length
    assert counted == planned.num_frames


def variable(path, times_ms):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width = stream.height = 64
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number * 9 % 255, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("fps", [8, 23.976, 24, 30, 60])
def test_on_real_files_with_variable_frame_rate(tmp_path, suffix, fps):
    path = tmp_path / f"v.{suffix}"
    variable(path, [0, 40, 80, 200, 210, 333, 500, 540, 900, 940])
    info = probe_video(path, {"mp4": "mov", "mkv": "matroska"}[suffix])
    index = scan(path)
    planned = node.resample(index.times, index.duration, node.exact_rate(fps))
    assert frames_in_range(info, fps, 0.0, None) == planned.num_frames


def first_packets_missing(folder, suffix):
    options = {"codec": "mpeg4", "options": {"g": "12"}} if suffix == "avi" else {"options": B_FRAMES}
    whole = numbered_video(folder / f"whole.{suffix}", 40, **options)
    return without_first_packets(whole, folder / f"a.{suffix}", 5), 28


def trimmed_by_an_edit_list(folder, suffix):
    return hide_first_frames(numbered_video(folder / f"a.{suffix}", 40, options=B_FRAMES), 17), 23


def open_group_at_the_start(folder, suffix):
    """Begins at a key frame whose leading pictures need the group before it."""
    params = "open-gop=1:keyint=12:min-keyint=12:bframes=3:scenecut=0:log-level=none"
    options = {"codec": "libx265", "options": {"preset": "ultrafast", "x265-params": params}}
    whole = numbered_video(folder / f"whole.{suffix}", 40, **options)
    with av.open(str(whole)) as source:
        packets = [packet for packet in source.demux(video=0) if packet.size]
    key = next(i for i, packet in enumerate(packets) if i and packet.is_keyframe)
    leading = [packet for packet in packets[key:] if packet.pts < packets[key].pts]
    assert leading
    return without_first_packets(whole, folder / f"a.{suffix}", key), len(packets) - key - len(leading)


@pytest.mark.parametrize(
    ("make", "suffix"),
    [
        *((first_packets_missing, suffix) for suffix in ("mp4", "mkv", "avi")),
        *((trimmed_by_an_edit_list, suffix) for suffix in ("mp4", "mov")),
        *((open_group_at_the_start, suffix) for suffix in ("mp4", "mkv")),
    ],
)
def test_on_files_that_begin_between_key_frames(tmp_path, make, suffix):
    """What cannot be shown counts in neither place."""
    path, num_frames = make(tmp_path, suffix)
    info = probe_video(path, {"mkv": "matroska", "avi": "avi"}.get(suffix, "mov"))
    index = scan(path)
    assert info.num_frames == len(index.pts) == num_frames
    assert info.duration == pytest.approx(float(index.duration), abs=1e-6)
    planned = node.resample(index.times, index.duration, node.exact_rate(24))
    assert frames_in_range(info, 24, 0.0, None) == planned.num_frames


@pytest.mark.parametrize(("sound", "known"), [(True, True), (True, False), (False, True)])
def test_the_same_sound_is_there(tmp_path, sound, known):
    """Also where no decoder exists for it: phones add such tracks (spatial audio)."""
    path = write_video(tmp_path / "a.mp4", sound=sound)
    if not known:
        data = path.read_bytes()
        assert data.count(b"mp4a") == data.count(b"esds") == 1
        path.write_bytes(data.replace(b"mp4a", b"apac").replace(b"esds", b"dapa"))
    found = find_sound(path, Fraction(0), Fraction(1))
    assert probe_video(path).has_audio == (found is not None) == (sound and known)
