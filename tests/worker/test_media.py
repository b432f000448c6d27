"""worker/media.py and worker/probe.py: keys, first bytes, pictures and videos that are not what they say."""

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from worker.errors import JobError
from worker.guard import GuardedFetcher
from worker.media import (
    Inputs,
    Source,
    VideoInfo,
    check_range,
    fetch_image,
    fetch_video,
    probe_image,
    probe_video,
    safe_key,
    sniff,
)

INFO = VideoInfo(width=1280, height=720, fps=24.0, num_frames=164, duration=164 / 24, has_audio=True)


def write_video(path: Path, frames=12, fps=24, sound=False, container=None, faststart=False, picture=True) -> Path:
    """A small real video; the picture wanders so that its bytes do not vanish."""
    options = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", format=container, options=options) as out:
        if picture:
            video = out.add_stream("libx264", rate=fps)
            video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = out.add_stream("aac", rate=16000) if sound else None
        for index in range(frames if picture else 0):
            pixels = np.random.default_rng(index).integers(0, 255, (64, 96, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            out.mux(video.encode(frame))
        if picture:
            out.mux(video.encode())
        if audio:
            for start in range(0, 16000 * frames // fps, 1024):
                block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                block.sample_rate, block.pts, block.time_base = 16000, start, Fraction(1, 16000)
                out.mux(audio.encode(block))
            out.mux(audio.encode())
    return path


def code_of(call) -> JobError:
    with pytest.raises(JobError) as error:
        call()
    return error.value


@pytest.mark.parametrize("key", ["a.mp4", "avatar/u-1/x.y_z.mp4", "ä/名前.png", "a b/c+d=e.png", "..a/b..c"])
def test_a_plain_key_passes_unchanged(key):
    assert safe_key(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "a/../b",
        "..",
        "../a",
        "a/..",
        "./a",
        "a/./b",
        "a//b",
        "a/",
        "a\\b",
        "a\nb",
        "a\0",
        "\x7f",
        "x" * 1025,
        "\ud800",
    ],
)
def test_a_key_that_leaves_its_place_is_refused(key):
    assert code_of(lambda: safe_key(key)).code == "key_outside_prefix"


def test_a_url_in_a_key_field_is_told_where_it_belongs():
    error = code_of(lambda: safe_key("https://host/a.mp4"))
    assert error.code == "key_outside_prefix"
    assert "_url" in error.hint


def test_a_prefix_holds_at_whole_names():
    assert safe_key("users/a/x.mp4", "users/a") == "users/a/x.mp4"
    for key in ("users/ab/x.mp4", "users/a", "x.mp4"):
        assert code_of(lambda key=key: safe_key(key, "users/a")).code == "key_outside_prefix"


@given(st.text(max_size=40))
def test_no_key_that_passes_climbs(key):
    try:
        safe_key(key)
    except JobError:
        return
    assert not key.startswith("/")
    assert ".." not in key.split("/")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", "empty"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
        (b"RIFF\0\0\0\0WAVEfmt ", "unknown"),
        (b"GIF89a", "GIF"),
        (b"\0\0\0\x20ftypisom", "MP4"),
        (b"\0\0\0\x14ftypqt  ", "MOV"),
        (b"\0\0\0\x18ftypheic", "HEIF"),
        (b"\x1aE\xdf\xa3\x01", "Matroska"),
        (b"\xef\xbb\xbf\n <!DOCTYPE html><html>", "web page"),
        (b"<!-- hello --><HTML lang=en>", "web page"),
        (b"#EXTM3U\nhttp://10.0.0.1/a.ts", "text"),
        (b"ffconcat version 1.0\nfile /etc/passwd", "text"),
        ("Größe".encode()[:-1] + b"\xc3", "text"),
        (b"\0\x01\x02\x03", "unknown"),
    ],
)
def test_a_file_is_known_by_its_first_bytes(head, kind):
    assert sniff(head) == kind


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_pictures_are_read_whatever_their_name(tmp_path, suffix):
    Image.new("RGB", (80, 60), "red").save(tmp_path / f"a.{suffix}")
    (tmp_path / f"a.{suffix}").rename(tmp_path / "a.bin")
    info = probe_image(tmp_path / "a.bin", min_side=60)
    assert (info.width, info.height, info.orientation) == (80, 60, 1)


def test_a_picture_on_its_side_has_its_seen_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 60)).save(tmp_path / "a.jpg", exif=exif)
    info = probe_image(tmp_path / "a.jpg", min_side=60)
    assert (info.width, info.height, info.orientation) == (60, 80, 6)


def test_a_picture_that_is_too_small_names_both_sizes(tmp_path):
    Image.new("RGB", (80, 59)).save(tmp_path / "a.png")
    error = code_of(lambda: probe_image(tmp_path / "a.png", min_side=60))
    assert error.code == "picture_too_small"
    assert "80x59" in error.message
    assert "60" in error.message


def test_a_cut_picture_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    for name in ("a.jpg", "a.png", "a.webp"):
        Image.fromarray(noise).save(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        assert code_of(lambda name=name: probe_image(tmp_path / name, 10)).code == "not_an_image", name


def test_a_picture_that_would_fill_the_memory_is_refused_undecoded(tmp_path):
    Image.new("L", (16, 16)).save(tmp_path / "a.png")
    for side in (9_000, 60_000):  # 81 million pixels, and more than Pillow itself would open
        data = bytearray((tmp_path / "a.png").read_bytes())
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        (tmp_path / "b.png").write_bytes(data)
        assert code_of(lambda: probe_image(tmp_path / "b.png", 10)).code == "too_large"


@pytest.mark.parametrize("content", [b"<html>login</html>", b"hello", b"", b"\0\0\0\x20ftypisom", b"GIF89a......"])
def test_what_is_no_picture_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    assert code_of(lambda: probe_image(tmp_path / "a.png", 10)).code == "not_an_image"


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


@pytest.fixture
async def files(tmp_path):
    """An HTTP server for the folder www; Inputs that may fetch from it, and nothing else."""
    www = tmp_path / "www"
    www.mkdir()
    app = web.Application()
    app.router.add_static("/", www)
    async with TestServer(app, host="127.0.0.1") as server:
        fetcher = GuardedFetcher(10, exempt=[f"127.0.0.1:{server.port}"])
        yield www, str(server.make_url("/")), Inputs(None, fetcher, 10, 100_000, 1_000_000)


async def fetched(what, url: str, field: str, dest: Path, inputs: Inputs, *more):
    return await what(Source(field, url, "url"), dest, inputs, *more)


async def test_a_picture_and_a_video_come_by_url(files, tmp_path):
    www, base, inputs = files
    Image.new("RGB", (80, 60)).save(www / "a.png")
    write_video(www / "a.mp4")
    image = await fetched(fetch_image, base + "a.png", "input_image_url", tmp_path / "in" / "i", inputs, 32)
    video = await fetched(fetch_video, base + "a.mp4", "driving_video_url", tmp_path / "in" / "v", inputs)
    assert (image.width, video.num_frames) == (80, 12)
    assert (tmp_path / "in" / "v").read_bytes() == (www / "a.mp4").read_bytes()


@pytest.mark.parametrize(
    ("content", "code", "hint"),
    [
        (b"<!doctype html><title>Sign in</title>", "not_a_video", "direct link"),
        (b"version https://git-lfs", "not_a_video", "MP4"),
        (b"#EXTM3U\nhttp://127.0.0.1:1/a.ts\n", "not_a_video", "MP4"),
        (b"", "not_a_video", "upload finish"),
        (b"\0" * 1_000_001, "too_large", "smaller"),
    ],
)
async def test_what_is_no_video_leaves_nothing_behind(files, tmp_path, content, code, hint):
    www, base, inputs = files
    (www / "a.mp4").write_bytes(content)
    with pytest.raises(JobError) as error:
        await fetched(fetch_video, base + "a.mp4", "driving_video_url", tmp_path / "in" / "v.mp4", inputs)
    assert (error.value.code, error.value.field) == (code, "driving_video_url")
    assert hint in error.value.hint
    assert not (tmp_path / "in").exists() or list((tmp_path / "in").iterdir()) == []


async def test_a_key_without_a_store_and_a_key_outside_are_refused(files, tmp_path):
    inputs = files[2]
    for key, code in (("a.png", "no_store"), ("../a.png", "key_outside_prefix")):
        with pytest.raises(JobError) as error:
            await fetch_image(Source("input_image_minio_path", key, "key"), tmp_path / "i", inputs, 32)
        assert (error.value.code, error.value.field) == (code, "input_image_minio_path")
