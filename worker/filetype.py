"""What a file is by its first bytes, and how that is said. Names and MIME types are hearsay."""

import hashlib
from pathlib import Path
from typing import TypedDict

HEAD_BYTES = 4096


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


def head_of(path: Path) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def file_sha256(path: Path) -> str:
    """64 hex digits of a file's content, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Seen(TypedDict):
    """Of a JobError."""

    detail: str
    hint: str | None


def seen(kind: str) -> Seen:
    """What an error says of a file that is a `kind` (of `sniff`) and should be another."""
    words = {"web page": "a web page (HTML)", "text": "a text file", "empty": "empty", "unknown": "of no known kind"}
    hints = {
        "web page": "The address gives a web page, not the file itself: use the direct link to the file.",
        "empty": "Did the upload finish?",
        "HEIF": "Save it as JPEG or PNG.",
    }
    return {"detail": f"It is {words.get(kind, f'a {kind} file')}.", "hint": hints.get(kind)}


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # The last character may be cut in two.
        return error.start >= len(head) - 3
    return True
