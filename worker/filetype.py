"""What a file is by its first bytes, and how that is said. Names and MIME types are hearsay."""

import hashlib
from pathlib import Path
from typing import TypedDict

HEAD_BYTES = 4096
SUFFIXES = {
    **{"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp"},
    **{"MP4": ".mp4", "MOV": ".mov", "Matroska": ".mkv", "AVI": ".avi", "FLV": ".flv", "MPEG-TS": ".ts"},
    **{"WAV": ".wav", "MP3": ".mp3", "AAC": ".aac", "FLAC": ".flac", "Ogg": ".ogg", "AIFF": ".aiff", "CAF": ".caf"},
    **{"AU": ".au", "AMR": ".amr", "ASF": ".wma"},
}
"""What a file of a kind (of `sniff`) is called, whatever it was called before."""
_SOUNDS = (
    *((b"fLaC", "FLAC"), (b"OggS", "Ogg"), (b"caff", "CAF"), (b".snd", "AU"), (b"#!AMR", "AMR"), (b"FLV\x01", "FLV")),
    (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "ASF"),
    (b"ID3", "MP3"),
)
"""First bytes of files with sound. What begins with an ID3 tag may go on as AAC or FLAC: its reader finds out."""
_TS_PACKET = 188


def sniff(head: bytes) -> str:
    """What a file is by its first bytes (some hundred are enough).

    One of: JPEG PNG WebP (pictures the worker takes), MP4 MOV Matroska AVI (videos it takes; WebM is Matroska),
    WAV MP3 AAC FLAC Ogg AIFF CAF AU AMR ASF FLV MPEG-TS (with sound in them), GIF HEIF, "web page", text, empty,
    unknown.
    """
    if not head:
        return "empty"
    for magic, name in ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF8", "GIF"), *_SOUNDS):
        if head.startswith(magic):
            return name
    if head[:4] in (b"RIFF", b"RF64"):
        return {b"WEBP": "WebP", b"AVI ": "AVI", b"WAVE": "WAV"}.get(head[8:12], "unknown")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "Matroska"
    if head[4:8] == b"ftyp":
        if head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis"):
            return "HEIF"
        return "MOV" if head[8:12] == b"qt  " else "MP4"
    # QuickTime files may go without ftyp.
    if head[4:8] in (b"moov", b"mdat", b"wide"):
        return "MOV"
    if kind := _kind_of_stream(head):
        return kind
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


def _kind_of_stream(head: bytes) -> str:
    """Files without a header, known by how each of their pieces begins; empty where there is no such piece.

    MPEG audio (ISO/IEC 11172-3, 2.4.1.3) and ADTS (ISO/IEC 13818-7, 6.2) share their sync word; the layer's two bits
    are 0 only in ADTS. MPEG-TS: ISO/IEC 13818-1, 2.4.3.
    """
    if head[:1] == b"\xff" and len(head) > 2:
        if head[1] & 0xF6 == 0xF0 and head[2] >> 2 & 15 < 13:
            return "AAC"
        # 0xFE, layer I with a checksum, is rather the byte order mark of a text in UTF-16.
        if head[1] & 0xE0 == 0xE0 and head[1] & 0x06 and head[1] != 0xFE and head[2] >> 4 != 15 and head[2] & 12 != 12:
            return "MP3"
    if len(head) > 2 * _TS_PACKET and head[0] == head[_TS_PACKET] == head[2 * _TS_PACKET] == 0x47:
        return "MPEG-TS"
    return ""


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # The last character may be cut in two.
        return error.start >= len(head) - 3
    return True
