"""A file that comes inside the request, as base64 (RFC 4648, 4): its size is known before anything is decoded."""

import base64
import re
from pathlib import Path

from .errors import JobError

_DATA_URI = re.compile(r"\s*data:[^,]{0,200}?;base64,", re.IGNORECASE)
_HINTS = {
    code: f"Send the file's bytes as base64, with or without `data:{example};base64,` in front."
    for code, example in (("not_an_image", "image/png"), ("sound_unreadable", "audio/wav"))
}


def write_base64(text: str, dest: Path, max_bytes: int, code: str = "not_an_image") -> None:
    """Decode `text` to `dest`. A data: prefix and white space (line breaks of mail and shells) are allowed.

    Raises too_large, by the text's length, and `code` (not_an_image, sound_unreadable) for what is no base64. Nothing
    of it is in the messages.
    """
    # White space can at most be cut off: a text that is much too long is not even looked at.
    _require_length(len(text) // 2, max_bytes)
    begin = found.end() if (found := _DATA_URI.match(text)) else 0
    compact = "".join(text[begin:].split())
    _require_length(len(compact), max_bytes)
    try:
        data = base64.b64decode(compact, validate=True)
    except ValueError as error:
        cut = "padding" in str(error).lower() or "number of data characters" in str(error)
        why = "it is cut off, or its padding (=) is wrong" if cut else "it has characters that base64 does not have"
        raise JobError(code, detail=f"It is no base64: {why}.", hint=_HINTS[code]) from None
    dest.parent.mkdir(parents=True, exist_ok=True)
    dest.write_bytes(data)


def _require_length(characters: int, max_bytes: int) -> None:
    """4 characters are 3 bytes."""
    if characters * 3 // 4 > max_bytes + 2:
        has = f"It has about {characters * 3 / 4 / 2**20:.1f} MiB"
        raise JobError("too_large", detail=f"{has}; at most {max_bytes / 2**20:g} MiB are accepted.")
