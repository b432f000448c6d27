"""A job's inputs: where a key or URL may point, fetched within limits, and checked by what is in the file.

Names and MIME types are hearsay; the first bytes decide what a file is, and only that decoder is tried on it. So a
playlist or another text that would send a decoder elsewhere is never opened as a video.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Literal, TypeVar

from .base64_input import write_base64
from .errors import JobError
from .filetype import file_sha256, head_of, seen, sniff
from .guard import GuardedFetcher
from .pictures import ImageInfo, probe_image
from .probe import VideoInfo, check_range, probe_video
from .settings import Settings
from .sounds import SoundInfo, probe_sound
from .store import ObjectStore

__all__ = [
    "ImageInfo",
    "Inputs",
    "SoundInfo",
    "Source",
    "VideoInfo",
    "check_range",
    "fetch_audio",
    "fetch_image",
    "fetch_video",
    "probe_any_video",
    "probe_image",
    "probe_sound",
    "probe_video",
    "safe_key",
    "sniff",
]

T = TypeVar("T")

MAX_KEY_BYTES = 1024
_DEMUXERS = {"MP4": "mov", "MOV": "mov", "Matroska": "matroska", "AVI": "avi"}


@dataclass(frozen=True)
class Source:
    """A media field of a request: a key of the bucket, an http(s) URL, or the file itself as base64."""

    field: str
    value: str = dataclass_field(repr=False)
    kind: Literal["key", "url", "base64"]


@dataclass(frozen=True)
class Inputs:
    """What fetching needs to know. `store` is None where none is configured; keys are then refused with no_store."""

    store: ObjectStore | None
    fetcher: GuardedFetcher
    timeout_s: float
    max_image_bytes: int
    max_video_bytes: int
    max_audio_bytes: int
    max_audio_seconds: float
    key_prefix: str = ""

    @classmethod
    def from_settings(cls, settings: Settings, store: ObjectStore | None) -> "Inputs":
        """Limits from the environment; `store` as the job uses it."""
        return cls(
            store,
            GuardedFetcher(settings.fetch_timeout_s, settings.allow_private_addresses),
            settings.fetch_timeout_s,
            settings.max_image_bytes,
            settings.max_video_bytes,
            settings.max_audio_bytes,
            settings.max_audio_seconds,
        )


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


async def fetch_image(source: Source, dest: Path, inputs: Inputs, min_side: int) -> ImageInfo:
    """Fetch a picture to `dest` and prove that it can be read. On any error nothing is left at `dest`.

    Raises JobError with the source's field: key_outside_prefix, address_refused, fetch_failed, fetch_timeout,
    too_large, not_an_image (also for what is no base64), picture_too_small, or one of the store's.
    """

    def check() -> ImageInfo:
        return replace(probe_image(dest, min_side), sha256=file_sha256(dest))

    return await _fetch(source, dest, inputs, inputs.max_image_bytes, check)


async def fetch_video(source: Source, dest: Path, inputs: Inputs, digest: bool = False) -> VideoInfo:
    """Fetch a video to `dest` and prove that it can be read. On any error nothing is left at `dest`.

    digest: fill in its sha256, too; a long video is read once more for that. Raises JobError with the source's field:
    as fetch_image, but not_a_video, video_unreadable, video_too_short.
    """

    def check() -> VideoInfo:
        info = probe_any_video(dest)
        return replace(info, sha256=file_sha256(dest)) if digest else info

    return await _fetch(source, dest, inputs, inputs.max_video_bytes, check)


async def fetch_audio(source: Source, dest: Path, inputs: Inputs) -> SoundInfo:
    """Fetch a voice to `dest` and prove that it can be heard. On any error nothing is left at `dest`.

    Raises JobError with the source's field: as fetch_image, but sound_unreadable (also for what is no base64),
    no_sound, no_voice, audio_too_long.
    """

    def check() -> SoundInfo:
        return probe_sound(dest, inputs.max_audio_seconds)

    return await _fetch(source, dest, inputs, inputs.max_audio_bytes, check, "sound_unreadable")


def probe_any_video(path: Path) -> VideoInfo:
    """`probe_video` with the one demuxer of what the first bytes say. Raises not_a_video, too, for other files."""
    kind = sniff(head_of(path))
    if kind not in _DEMUXERS:
        raise JobError("not_a_video", **seen(kind))
    return probe_video(path, _DEMUXERS[kind])


async def _fetch(
    source: Source, dest: Path, inputs: Inputs, max_bytes: int, check: Callable[[], T], no_base64: str = "not_an_image"
) -> T:
    """no_base64: the code for a text that should be base64 and is none."""
    try:
        if source.kind == "url":
            await inputs.fetcher.fetch(source.value, dest, max_bytes)
        elif source.kind == "base64":
            await asyncio.to_thread(write_base64, source.value, dest, max_bytes, no_base64)
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
