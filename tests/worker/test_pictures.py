"""worker/pictures.py: what a header claims is judged before any decoder makes room for it."""

import struct
import zlib

import pytest
from PIL import Image

from worker.pictures import MAX_SIDE, header_size, probe_image

from .small_media import code_of


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG: signature and header, not one pixel."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def webp(kind: str, width: int, height: int) -> bytes:
    """The beginning of a WebP of each of the three kinds."""
    if kind == "VP8X":
        body = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif kind == "VP8L":
        body = b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little")
    else:
        body = b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    chunk = kind.encode() + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def jpeg(width: int, height: int) -> bytes:
    """The beginning of a JPEG: a frame header of one component."""
    return b"\xff\xd8\xff\xe0\0\x04JF" + b"\xff\xc0" + struct.pack(">HBHHBBBB", 11, 8, height, width, 1, 1, 0x11, 0)


HUGE = [
    ("PNG", png(30_000, 30_000)),
    ("PNG, one side", png(MAX_SIDE + 1, 1)),
    ("PNG, the largest there can be", png(2**31 - 1, 2**31 - 1)),
    ("WebP, extended", webp("VP8X", 30_000, 30_000)),
    ("WebP, the largest canvas there can be", webp("VP8X", 2**24, 2**24)),
]


@pytest.mark.parametrize("head", [row[1] for row in HUGE], ids=[row[0] for row in HUGE])
def test_a_header_of_many_pixels_is_refused_before_a_decoder_sees_it(tmp_path, monkeypatch, head):
    def never(*_, **__):
        raise AssertionError("a decoder was asked")

    monkeypatch.setattr(Image, "open", never)
    (tmp_path / "a").write_bytes(head)
    error = code_of(lambda: probe_image(tmp_path / "a", 10))
    assert error.code == "too_large"
    assert f"at most {MAX_SIDE} a side" in error.message


def test_a_jpeg_is_refused_before_its_pixels_are_decoded(tmp_path, monkeypatch):
    from PIL import JpegImagePlugin

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", lambda *_: pytest.fail("it was decoded"))
    (tmp_path / "a").write_bytes(jpeg(30_000, 30_000) + bytes(100))
    assert code_of(lambda: probe_image(tmp_path / "a", 10)).code == "too_large"


@pytest.mark.parametrize("size", [(80, 60), (1, 1), (301, 7)])
def test_the_headers_of_real_files_are_read_right(tmp_path, size):
    picture = Image.effect_noise(size, 80).convert("RGB")
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "lossy.webp", quality=50)
    picture.save(tmp_path / "lossless.webp", lossless=True)
    exif = Image.Exif()
    exif[0x0112] = 1
    picture.save(tmp_path / "extended.webp", exif=exif)
    heads = {path.name: path.read_bytes()[:64] for path in tmp_path.iterdir()}
    assert [heads[f"{name}.webp"][12:16] for name in ("lossy", "lossless", "extended")] == [b"VP8 ", b"VP8L", b"VP8X"]
    for name, head in heads.items():
        assert header_size(head, "PNG" if name == "a.png" else "WebP") == size, name


def test_a_side_at_the_limit_passes(tmp_path):
    Image.new("L", (MAX_SIDE, 16)).save(tmp_path / "a.png")
    assert probe_image(tmp_path / "a.png", 10).width == MAX_SIDE


@pytest.mark.parametrize("head", [png(8, 8)[:18], webp("VP8X", 8, 8)[:22], b"RIFF\0\0\0\0WEBPVP8 ", png(0, 0)])
def test_a_header_that_is_cut_off_is_a_damaged_picture(tmp_path, head):
    (tmp_path / "a").write_bytes(head)
    assert code_of(lambda: probe_image(tmp_path / "a", 10)).code == "not_an_image"
