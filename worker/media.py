"""A job's inputs: where a key or URL may point, fetched within limits, and checked by what is in the file.

Names and MIME types are hearsay; the first bytes decide what a file is, and only that decoder is tried on it. So a
playlist or another text that would send a decoder elsewhere is never opened as a video.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from PIL import Image

from .errors import JobError
from .guard import GuardedFetcher
from .probe import VideoInfo, check_range, probe_video
from .settings import Settings
from .store import ObjectStore

__all__ = [
    "ImageInfo",
    "Inputs",
    "Source",
    "VideoInfo",
    "check_range",
    "fetch_image",
    "fetch_video",
    "probe_image",
    "probe_video",
    "safe_key",
    "sniff",
]

T = TypeVar("T")

MAX_KEY_BYTES = 1024
MAX_PICTURE_PIXELS = 64_000_000
_HEAD_BYTES = 4096
_PILLOW_FORMATS = {"JPEG": ("JPEG", "MPO"), "PNG": ("PNG",), "WebP": ("WEBP",)}
_DEMUXERS = {"MP4": "mov", "MOV": "mov", "Matroska": "matroska", "AVI": "avi"}
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Source:
    """A media field of a request: a key of the bucket or an http(s) URL."""

    field: str
    value: str
    kind: Literal["key", "url"]


@dataclass(frozen=True)
class ImageInfo:
    """Width and height as seen, after the EXIF orientation (1 to 8) has been applied."""

    width: int
    height: int
    format: str
    orientation: int


@dataclass(frozen=True)
class Inputs:
    """What fetching needs to know. `store` is None where none is configured; keys are then refused with no_store."""

    store: ObjectStore | None
    fetcher: GuardedFetcher
    timeout_s: float
    max_image_bytes: int
    max_video_bytes: int
    key_prefix: str = ""

    @classmethod
    def from_settings(cls, settings: Settings, store: ObjectStore | None) -> "Inputs":
        """Limits from the environment; `store` as the job uses it."""
        fetcher = GuardedFetcher(settings.fetch_timeout_s, settings.allow_private_addresses)
        return cls(store, fetcher, settings.fetch_timeout_s, settings.max_image_bytes, settings.max_video_bytes)


def safe_key(key: str, prefix: str = "") -> str:
    """A key that stays in the bucket, below `prefix` if one is given. Raises JobError key_outside_prefix."""

    def refuse(detail: str, hint: str | None = None) -> JobError:
        return JobError("key_outside_prefix", detail=detail, hint=hint)

    if not key or len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        raise refuse(f"A key has 1 to {MAX_KEY_BYTES} bytes.")
    if re.match(r"[a-z0-9+.-]+://", key, re.IGNORECASE):
        raise refuse("It is a URL, not a key.", "Use the field's ..._url twin for a URL.")
    if re.search(r"[\x00-\x1f\x7f\\\ud800-\udfff]", key):
        raise refuse("It has a backslash or control characters.")
    if key.startswith("/"):
        raise refuse("It starts with a slash.")
    if {"", ".", ".."} & set(key.split("/")):
        raise refuse("It has an empty part, `.` or `..` between its slashes.")
    folder = prefix.rstrip("/") + "/" if prefix else ""
    if not key.startswith(folder):
        raise refuse(f"It is not below {folder!r}.")
    return key


def sniff(head: bytes) -> str:
    """What a file is by its first bytes (some hundred are enough).

    One of: JPEG PNG WebP (pictures the worker takes), MP4 MOV Matroska AVI (videos it takes; WebM is Matroska),
    GIF HEIF, "web page", text, empty, unknown.
    """
    if not head:
        return "empty"
    for magic, name in ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF8", "GIF")):
        if head.startswith(magic):
            return name
    if head.startswith(b"RIFF"):
        return {b"WEBP": "WebP", b"AVI ": "AVI"}.get(head[8:12], "unknown")
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "Matroska"
    if head[4:8] == b"ftyp":
        if head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis"):
            return "HEIF"
        return "MOV" if head[8:12] == b"qt  " else "MP4"
    # QuickTime files may go without ftyp.
    if head[4:8] in (b"moov", b"mdat", b"wide"):
        return "MOV"
    start = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in start:
        return "web page"
    if b"\0" not in head and _is_text(head):
        return "text"
    return "unknown"


async def fetch_image(source: Source, dest: Path, inputs: Inputs, min_side: int) -> ImageInfo:
    """Fetch a picture to `dest` and prove that it can be read. On any error nothing is left at `dest`.

    Raises JobError with the source's field: key_outside_prefix, address_refused, fetch_failed, fetch_timeout,
    too_large, not_an_image, picture_too_small, or one of the store's.
    """
    return await _fetch(source, dest, inputs, inputs.max_image_bytes, lambda: probe_image(dest, min_side))


async def fetch_video(source: Source, dest: Path, inputs: Inputs) -> VideoInfo:
    """Fetch a video to `dest` and prove that it can be read. On any error nothing is left at `dest`.

    Raises JobError with the source's field: as fetch_image, but not_a_video, video_unreadable, video_too_short.
    """

    def check() -> VideoInfo:
        kind = sniff(_head(dest))
        if kind not in _DEMUXERS:
            raise _wrong_kind(JobError("not_a_video", detail=_shown(kind)), kind)
        return probe_video(dest, _DEMUXERS[kind])

    return await _fetch(source, dest, inputs, inputs.max_video_bytes, check)


async def _fetch(source: Source, dest: Path, inputs: Inputs, max_bytes: int, check: Callable[[], T]) -> T:
    try:
        if source.kind == "url":
            await inputs.fetcher.fetch(source.value, dest, max_bytes)
        else:
            key = safe_key(source.value, inputs.key_prefix)
            if inputs.store is None:
                raise JobError("no_store", detail=f"{source.field} is a key of the bucket.")
            try:
                async with asyncio.timeout(inputs.timeout_s):
                    await inputs.store.get(key, dest, max_bytes)
            except TimeoutError:
                raise JobError("fetch_timeout", detail=f"{key} took over {inputs.timeout_s:g} seconds.") from None
        return await asyncio.to_thread(check)
    except JobError as error:
        dest.unlink(missing_ok=True)
        raise error.with_field(source.field) from None


def probe_image(path: Path, min_side: int) -> ImageInfo:
    """Decode a picture in full, so that a broken one is refused here. `min_side` in pixels of the shorter side.

    Raises JobError not_an_image, too_large (pixels), picture_too_small.
    """
    kind = sniff(_head(path))
    if kind not in _PILLOW_FORMATS:
        raise _wrong_kind(JobError("not_an_image", detail=_shown(kind)), kind)
    try:
        with Image.open(path, formats=_PILLOW_FORMATS[kind]) as picture:
            width, height = picture.size
            if width * height > MAX_PICTURE_PIXELS:
                raise JobError("too_large", detail=f"The picture has {width}x{height} pixels.", hint="Scale it down.")
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


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # The last character may be cut in two.
        return error.start >= len(head) - 3
    return True


def _shown(kind: str) -> str:
    """A sniffed kind as a sentence."""
    words = {"web page": "a web page (HTML)", "text": "a text file", "empty": "empty", "unknown": "of no known kind"}
    return f"It is {words.get(kind, f'a {kind} file')}."


def _wrong_kind(error: JobError, kind: str) -> JobError:
    """The error with the hint that fits what came instead."""
    if kind == "web page":
        error.hint = "The address gives a web page, not the file itself: use the direct link to the file."
    elif kind == "empty":
        error.hint = "Did the upload finish?"
    elif kind == "HEIF":
        error.hint = "Save it as JPEG or PNG."
    return error
