"""What a picture really holds: its size read from the header first, then decoded in full, so that no broken one passes.

A file of some hundred bytes may claim any size, and a decoder makes room for it before it looks further; so the
header is read here, by its own format's rules, before any decoder sees the file.
"""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from .errors import JobError
from .filetype import head_of, seen, sniff

MAX_SIDE = 16_384
"""Pixels. WebP can hold no more, and no camera makes more."""
MAX_PIXELS = 64_000_000
_PILLOW_FORMATS = {"JPEG": ("JPEG", "MPO"), "PNG": ("PNG",), "WebP": ("WEBP",)}
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class ImageInfo:
    """Width and height as seen, after the EXIF orientation (1 to 8) has been applied; sha256 of a fetched file."""

    width: int
    height: int
    format: str
    orientation: int
    sha256: str = ""


def probe_image(path: Path, min_side: int) -> ImageInfo:
    """Decode a picture in full, so that a broken one is refused here. `min_side` in pixels of the shorter side.

    Raises JobError not_an_image, too_large (pixels), picture_too_small.
    """
    head = head_of(path)
    kind = sniff(head)
    if kind not in _PILLOW_FORMATS:
        raise JobError("not_an_image", **seen(kind))
    _require_size(*header_size(head, kind))
    try:
        with Image.open(path, formats=_PILLOW_FORMATS[kind]) as picture:
            width, height = picture.size
            _require_size(width, height)
            orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
            picture.load()
    except JobError:
        raise
    except Image.DecompressionBombError:
        raise JobError("too_large", detail="The picture has too many pixels.", hint="Scale it down.") from None
    except Exception as error:
        # On a damaged file a decoder may raise nearly anything; whatever it is, the file is at fault.
        raise JobError("not_an_image", detail=f"It is a damaged {kind} ({error}).", hint="Save it again.") from None
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    if min(width, height) < min_side:
        detail = f"It has {width}x{height} pixels; the shorter side needs {min_side}."
        raise JobError("picture_too_small", detail=detail)
    return ImageInfo(width, height, kind, orientation if orientation in range(1, 9) else 1)


def header_size(head: bytes, kind: str) -> tuple[int, int]:
    """Width and height that the first bytes claim; (0, 0) where they do not say it there.

    PNG: IHDR comes first (PNG specification, 11.2.1). WebP: RFC 9649, 2.5 to 2.7. JPEG has it further on, in a frame
    header that Pillow reads without making room for the picture.
    """

    def little(start: int, end: int) -> int:
        return int.from_bytes(head[start:end], "little")

    if kind == "PNG":
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if kind == "WebP" and head[12:16] == b"VP8X":
        return little(24, 27) + 1, little(27, 30) + 1
    if kind == "WebP" and head[12:16] == b"VP8L":
        return (little(21, 25) & 0x3FFF) + 1, (little(21, 25) >> 14 & 0x3FFF) + 1
    if kind == "WebP" and head[12:16] == b"VP8 ":
        return little(26, 28) & 0x3FFF, little(28, 30) & 0x3FFF
    return 0, 0


def _require_size(width: int, height: int) -> None:
    """Raises too_large."""
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        limit = f"at most {MAX_SIDE} a side and {MAX_PIXELS // 10**6} million in all are accepted"
        detail = f"The picture has {width}x{height} pixels; {limit}."
        raise JobError("too_large", detail=detail, hint="Scale it down.")
