"""The files of an answer: out of its base64 or from its links onto the disk, and the picture with its masks."""

import base64
import binascii
import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from cli.outcome import RunFailed
from cli.overlay import Drawn, draw_masks

VIDEO = (("video_base64",), ("video_url", "output_url", "presigned_url"))
LAST_FRAME = (("last_frame_base64",), ("last_frame_url",))
SPEAKERS = (("speakers_preview_base64",), ("speakers_preview_url",))
MASK = (("png_base64",), ("url",))
"""(fields of an answer that hold a file as base64, fields that hold its address), the better one first."""
NAMES = {
    "video_base64": "video_path",
    "last_frame_base64": "last_frame_path",
    "speakers_preview_base64": "speakers_preview_path",
    "png_base64": "path",
}
"""What takes the place of base64 in the answer that is printed."""


@dataclass(frozen=True)
class Names:
    """Where results go. main: the video, or the picture with masks over it; the others are beside it."""

    main: Path

    @classmethod
    def of(cls, output: str | None, default: str, suffix: str) -> "Names":
        """From --output: a file, or a folder (with a slash at its end, or being there) for `default` + `suffix`.

        A path without an ending is a folder for masks, which are many files; a video's gets its ending. Raises
        RunFailed for another ending than the result has.
        """
        path, ending = Path(output or "."), f".{suffix.rpartition('.')[2]}"
        many = suffix != ending
        if output is None or output.endswith("/") or path.is_dir() or (many and not path.suffix):
            return cls(path / f"{default}{suffix}")
        if path.suffix.lower() not in ("", ending):
            raise RunFailed(f"--output {output}: the result is a file {ending}; a folder ends with a slash")
        return cls(path if path.suffix else path.with_suffix(ending))

    def beside(self, name: str) -> Path:
        """`<stem>_<name>.png` beside the main file."""
        return self.main.with_name(f"{self.main.stem.removesuffix('_masks')}_{name}.png")

    def make_folder(self) -> None:
        """The folder is there and can be written to. Raises RunFailed."""
        try:
            self.main.parent.mkdir(parents=True, exist_ok=True)
            probe = self.main.with_name(f".{self.main.name}.part")
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise RunFailed(f"--output: {self.main.parent} cannot be written to: {error.strerror}") from None


def save(answer: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Write every file of an answer; the answer with paths in the place of base64.

    Raises RunFailed where a file cannot be had: the job is done, and its answer says where its results are.
    """
    saved = _saved(answer, VIDEO, names.main, "video_path")
    saved = _saved(saved, LAST_FRAME, names.beside("last_frame"), "last_frame_path")
    saved = _saved(saved, SPEAKERS, names.beside("speakers"), "speakers_preview_path")
    if masks := saved.get("masks"):
        saved["masks"] = [
            _saved(mask, MASK, names.beside(f"mask_{number}"), "path") for number, mask in enumerate(masks, 1)
        ]
    return saved


def files_of(answer: Mapping[str, Any]) -> list[str]:
    """The paths in an answer that `save` has written, in the order in which a person looks at them."""
    named = [answer.get(name) for name in ("video_path", "last_frame_path", "speakers_preview_path", "overlay_path")]
    return [path for path in [*named, *(mask.get("path") for mask in answer.get("masks", []))] if path]


def save_overlay(saved: Mapping[str, Any], picture: Path, asked: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Draw the saved masks over their picture; the answer with `overlay_path`.

    asked: the request (bboxes, points, point_labels). Raises RunFailed where the picture is not the masks' one.
    """
    try:
        with Image.open(picture) as opened:
            seen = ImageOps.exif_transpose(opened).convert("RGB")
        masks = [Drawn(_mask(one["path"]), one.get("score"), one.get("bbox")) for one in saved["masks"]]
        prompts = [asked.get(name) or () for name in ("bboxes", "points", "point_labels")]
        draw_masks(seen, masks, *prompts).save(names.main)
    except (OSError, ValueError) as error:
        raise RunFailed(f"The picture with its masks could not be drawn: {error}.") from error
    return {**saved, "overlay_path": str(names.main)}


def _mask(path: str) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("L")) >= 128


def _saved(part: Mapping[str, Any], fields: tuple[tuple[str, ...], ...], path: Path, name: str) -> dict[str, Any]:
    """`part` with one of its files written to `path`, which then stands in it as `name`; as it is without a file."""
    inline, links = ([field for field in group if part.get(field)] for group in fields)
    if not inline and not links:
        return dict(part)
    if inline:
        write(path, _decoded(part[inline[0]], inline[0]))
    else:
        download(part[links[0]], path)
    kept = {name if field in inline else field: value for field, value in part.items()}
    return {**kept, name: str(path)}


def write(path: Path, content: bytes) -> None:
    """The whole file or none. Raises RunFailed."""
    part = _part(path)
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RunFailed(f"{path} could not be written: {error.strerror}.") from error


def download(url: str, path: Path) -> None:
    """The whole file or none. Raises RunFailed. No address guard: the worker, or the user, named this address."""
    part = _part(path)
    try:
        with urllib.request.urlopen(url, timeout=120) as response, part.open("wb") as file:
            while chunk := response.read(1 << 20):
                file.write(chunk)
            said, size = int(response.headers.get("Content-Length") or file.tell()), file.tell()
        if size != said:  # a connection that ends early is no error to urllib
            raise ConnectionError(f"only {size} of {said} bytes came")
        part.replace(path)
    except (http.client.HTTPException, OSError, ValueError) as error:
        part.unlink(missing_ok=True)
        what = type(error).__name__
        if isinstance(error, urllib.error.HTTPError):
            what = f"HTTP {error.code}"
            error.close()
        elif isinstance(error, ConnectionError):
            what += f", {error}"
        raise RunFailed(f"{url.split('?')[0]} could not be downloaded: {what}.") from error


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _decoded(text: str, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RunFailed(f"The answer's {field} is no base64: {error}.") from None
