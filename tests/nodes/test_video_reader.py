"""reader.py on odd files: which frame comes out is read from the picture itself, never only counted."""

from fractions import Fraction

import numpy as np
import pytest

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.video.index import scan
from custom_nodes.comfy_motion.video.reader import VideoFrames
from custom_nodes.comfy_motion.video.timeline import CLOCK_GRACE

from .video_reading import B_FRAMES, all_numbers, frames_of
from .video_samples import (
    BACKGROUND,
    CORNERS,
    hide_first_frames,
    numbered,
    numbered_video,
    numbers_in,
    without_first_packets,
    write_video,
)


def assert_everywhere_the_same(frames: VideoFrames, wanted: list[int]) -> None:
    """In order, then in ranges that jump about: always the frames of `wanted`."""
    assert frames.num_frames == len(wanted)
    assert all_numbers(frames) == wanted
    frames.close()
    frames._room = 1  # these pictures are so small that all of them would be kept, and nothing decoded again
    rng = np.random.default_rng(1)
    for _ in range(12):
        start = int(rng.integers(0, len(wanted)))
        stop = int(rng.integers(start, min(len(wanted), start + 9) + 1))
        assert numbers_in(frames.read(start, stop)) == wanted[start:stop]


FILES = {
    "plain.mp4": {},
    "b_frames.mp4": {"options": B_FRAMES},
    "b_frames.mkv": {"options": B_FRAMES},
    "b_frames.mov": {"options": B_FRAMES},
    "open_gop.mp4": {
        "options": {**B_FRAMES, "x264-params": "open-gop=1:keyint=12:min-keyint=4:bframes=3:b-pyramid=normal"}
    },
    "open_gop.mkv": {
        "options": {**B_FRAMES, "x264-params": "open-gop=1:keyint=12:min-keyint=4:bframes=3:b-pyramid=normal"}
    },
    "open_gop_hevc.mp4": {
        "codec": "libx265",
        "options": {
            "preset": "ultrafast",
            "x265-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:log-level=none",
        },
    },
    "stream.ts": {"options": B_FRAMES},
    "old.avi": {"codec": "mpeg4", "options": {"qscale": "2", "b": "4M"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8", "b": "2M"}},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "ten_bit_hevc.mp4": {
        "codec": "libx265",
        "pix_fmt": "yuv420p10le",
        "options": {"preset": "ultrafast", "x265-params": "log-level=none"},
    },
    "full_chroma.mp4": {"pix_fmt": "yuv444p"},
    "rgb.mp4": {"codec": "libx264rgb", "pix_fmt": "rgb24"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le", "options": {}},
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_right_frames(tmp_path, name):
    path = numbered_video(tmp_path / name, 40, **FILES[name])
    assert_everywhere_the_same(frames_of(path), list(range(40)))


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
def test_odd_sizes(tmp_path, codec):
    fmt, options = ("yuv444p", None) if codec == "libx264" else ("yuv420p", FILES["vp9.webm"]["options"])
    path = numbered_video(tmp_path / "odd.mkv", 8, 641, 359, codec=codec, pix_fmt=fmt, options=options)
    frames = frames_of(path, (641, 359))
    assert all_numbers(frames) == list(range(8))
    # The last column and row are picture, not leftovers of the decoder's padding.
    picture = frames.read(0, 1)[0].numpy().astype(int)
    assert np.abs(picture[100, -1] - BACKGROUND).max() < 12
    assert np.abs(picture[-1, 400] - BACKGROUND).max() < 12
    assert all_numbers(frames_of(path, (320, 176))) == list(range(8))


def test_variable_rate_in_milliseconds(tmp_path):
    """A Matroska file whose frames last 20 to 300 ms: at every output time the frame that a player would show."""
    lengths = np.random.default_rng(5).integers(20, 300, 30)
    times = [0, *np.cumsum(lengths).tolist()]
    path = numbered_video(tmp_path / "vfr.mkv", 31, ticks=times, time_base=Fraction(1, 1000))
    frames = frames_of(path, fps=Fraction(24))
    wanted = [int(np.searchsorted(times, i / 24 * 1000 + 1, "right")) - 1 for i in range(frames.num_frames)]
    assert_everywhere_the_same(frames, wanted)
    assert frames.num_frames >= times[-1] * 24 // 1000


def test_variable_rate_in_mp4(tmp_path):
    times = [0, 512, 1024, 4096, 4608, 9216, 9728]
    path = numbered_video(tmp_path / "vfr.mp4", 7, ticks=times, time_base=Fraction(1, 12288))
    wanted = [int(np.searchsorted(times, i * 512, "right")) - 1 for i in range(20)]
    assert all_numbers(frames_of(path)) == wanted


@pytest.mark.parametrize(
    "rate", [Fraction(30), Fraction(25), Fraction(60), Fraction(30000, 1001), Fraction(24000, 1001)]
)
def test_other_rates(tmp_path, rate):
    path = numbered_video(tmp_path / "rate.mp4", 60, rate=rate, options=B_FRAMES)
    frames = frames_of(path)
    wanted = [int((i / Fraction(24) + CLOCK_GRACE) * rate) for i in range(frames.num_frames)]
    assert_everywhere_the_same(frames, wanted)
    assert frames.num_frames == int(60 / rate * 24 + Fraction(1, 2))


@pytest.mark.parametrize(("rotation", "hflip"), [(90, False), (180, False), (-90, False), (0, True), (90, True)])
def test_rotation_flags(tmp_path, rotation, hflip):
    """The file holds the picture turned; its flag says how to show it upright."""
    pictures = [numbered(i) for i in range(5)]
    stored = [np.rot90(np.fliplr(p) if hflip else p, -rotation // 90) for p in pictures]
    path = write_video(tmp_path / "phone.mp4", stored, rotation=rotation, hflip=hflip)
    picture = frames_of(path).read(2, 3)[0].numpy().astype(int)
    assert numbers_in([picture]) == [2]
    for spot, at in {"top left": (8, 8), "top right": (8, -8), "bottom left": (-8, 8)}.items():
        assert np.abs(picture[at] - CORNERS[spot]).max() < 25, spot
    assert np.abs(picture[-8, -8] - BACKGROUND).max() < 25


def test_a_range(tmp_path):
    path = numbered_video(tmp_path / "long.mp4", 96, options=B_FRAMES)
    frames = frames_of(path, start_time=Fraction(1), end_time=Fraction(5, 2))
    assert_everywhere_the_same(frames, list(range(24, 60)))
    assert frames.source_range == (1, Fraction(5, 2))


def test_a_trimmed_video_is_counted_from_its_trim(tmp_path):
    path = numbered_video(tmp_path / "long.mp4", 96)
    frames = frames_of(path, trim_start=Fraction(1), trim_length=Fraction(2), start_time=Fraction(1, 2))
    assert all_numbers(frames) == list(range(36, 72))
    assert frames.source_range == (Fraction(3, 2), 3)
    with pytest.raises(MotionError, match="range_outside_video"):
        frames_of(path, trim_start=Fraction(1), trim_length=Fraction(2), end_time=Fraction(5, 2))


def test_pad_and_crop(tmp_path):
    path = numbered_video(tmp_path / "wide.mp4", 2, 320, 160)
    padded = frames_of(path, (320, 320)).read(0, 1)[0].numpy()
    assert padded[:80].max() == padded[240:].max() == 0
    assert numbers_in(padded[None, 80:240]) == [0]
    cropped = frames_of(path, (160, 160), fit="crop").read(0, 1)[0].numpy().astype(int)
    assert np.abs(cropped[10, 10] - BACKGROUND).max() < 12  # the corner marks are outside


def test_anamorphic_video_is_shown_in_its_own_shape(tmp_path):
    """240x180 stored pixels, each a third wider than high: a 16:9 picture that fills 320x180 without bars."""

    def wide_pixels(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    path = numbered_video(tmp_path / "wide_pixels.mp4", 3, 240, 180, setup=wide_pixels)
    frames = frames_of(path, (320, 180))
    assert all_numbers(frames) == [0, 1, 2]
    assert frames.read(0, 1)[0, :, [0, -1]].amax() > 100


def test_a_file_without_picture_times_is_counted(tmp_path):
    """A bare H.264 stream has no clock: frames come in order, at the rate it names."""
    path = numbered_video(tmp_path / "bare.h264", 30, options={"crf": "10", "preset": "ultrafast"})
    assert scan(path).counted
    assert_everywhere_the_same(frames_of(path, fps=scan(path).time_base ** -1), list(range(30)))


@pytest.mark.parametrize("name", ["b_frames.mp4", "b_frames.mov"])
@pytest.mark.parametrize("hidden", [5, 12, 17])
def test_a_trim_by_an_edit_list_begins_between_key_frames(tmp_path, name, hidden):
    """As phones trim: nothing is encoded anew, what comes before the cut is decoded and not shown."""
    path = hide_first_frames(numbered_video(tmp_path / name, 40, options=B_FRAMES), hidden)
    assert_everywhere_the_same(frames_of(path), list(range(hidden, 40)))


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.avi"])
def test_what_comes_before_the_first_key_frame_is_left_out(tmp_path, name):
    codec = {"codec": "mpeg4", "options": {"qscale": "2", "b": "4M", "g": "12"}} if name.endswith("avi") else {}
    whole = numbered_video(tmp_path / f"whole_{name}", 40, **(codec or {"options": B_FRAMES}))
    path = without_first_packets(whole, tmp_path / name, 5)
    assert_everywhere_the_same(frames_of(path), list(range(12, 40)))
