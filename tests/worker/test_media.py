"""worker/media.py: keys, first bytes, pictures that are not what they say, and fetching both kinds of input."""

import struct
import zlib
from pathlib import Path

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
    fetch_image,
    fetch_video,
    probe_image,
    safe_key,
    sniff,
)

from .small_media import code_of, write_video


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
        (b"RIFF\0\0\0\0WAVEfmt ", "WAV"),
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


@pytest.fixture
async def files(tmp_path):
    """An HTTP server for the folder www; Inputs that may fetch from it, and nothing else."""
    www = tmp_path / "www"
    www.mkdir()
    app = web.Application()
    app.router.add_static("/", www)
    async with TestServer(app, host="127.0.0.1") as server:
        fetcher = GuardedFetcher(10, exempt=[f"127.0.0.1:{server.port}"])
        yield www, str(server.make_url("/")), Inputs(None, fetcher, 10, 100_000, 1_000_000, 1_000_000, 60)


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
