"""Finished clips on disk, lossless, found again by what they were made from.

A clip lies in `<ComfyUI user folder>/comfy_motion/kept/<name>/<signature>/`: segment files as video/segments.py
writes them, and `clip.json`, which names them with their sizes. The folder is written under another name and gets its
own only when everything in it is on the disk; one whose files are missing or short counts as not there.
"""

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..errors import MotionError
from ..video.frames import Frames
from ..video.segments import SegmentFrames, SegmentWriter

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_CONTENTS = "clip.json"
_CHUNK = 16  # frames in memory at a time
_LEFT_BEHIND = 3600.0  # seconds after which a folder that was never finished is the remains of a crash

Report = Callable[[int, int], None]


def checked_name(name: str) -> str:
    """`name` if it can be a folder's. Raises MotionError invalid_value."""
    if not _NAME.fullmatch(name):
        raise MotionError(
            "invalid_value",
            f"The name {name[:120]!r} cannot be a folder's.",
            "Use up to 100 letters, digits, . _ and -, and do not begin with a dot.",
        )
    return name


def find(folder: Path) -> SegmentFrames | None:
    """The clip kept in `folder`; None when it is not there or not whole."""
    try:
        contents = json.loads((folder / _CONTENTS).read_text())
        paths = [folder / name for name, _, _ in contents["files"]]
        if [path.stat().st_size for path in paths] != [size for _, _, size in contents["files"]]:
            return None
        lengths = [frames for _, frames, _ in contents["files"]]
        return SegmentFrames(paths, lengths, contents["width"], contents["height"], Fraction(contents["fps"]))
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return None


def keep(folder: Path, frames: Frames, report: Report) -> SegmentFrames:
    """Write `frames` to `folder` (its last two names are the clip's name and signature) and give them back from there.

    report(frames done, all frames): what it raises stops the writing, and nothing stays behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_remains(folder.parent)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name[:16]}-", suffix=".part", dir=folder.parent))
    try:
        _write(part, frames, report)
        shutil.rmtree(folder, ignore_errors=True)  # there is one only when it is damaged
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    kept = find(folder)
    if kept is None:
        raise OSError(f"{folder} was written and cannot be read back: is the disk full, or was it removed?")
    return kept


def used(folder: Path) -> None:
    """Set the times of a kept clip and its name's folder to now: whoever tidies up by age sees them in use."""
    for path in (folder, folder.parent):
        with contextlib.suppress(OSError):  # read only, or gone: the reader finds out
            os.utime(path)


class GivenOut:
    """Which kept clips were handed to ComfyUI, to see when one has gone from the disk.

    ComfyUI remembers a node's result for as long as its inputs stay the same; here the result is files that someone
    else may remove. `lost` counts the removed ones for each node: as the node's fingerprint it changes only then.
    """

    def __init__(self) -> None:
        self._folders: dict[Any, set[Path]] = {}
        self._lost: dict[Any, int] = {}

    def add(self, key: Any, folder: Path) -> None:
        self._folders.setdefault(key, set()).add(folder)

    def lost(self, key: Any) -> int:
        """How many clips given out under `key` have gone since."""
        gone = {folder for folder in self._folders.get(key, ()) if find(folder) is None}
        if gone:
            self._folders[key] -= gone
            self._lost[key] = self._lost.get(key, 0) + len(gone)
        return self._lost.get(key, 0)


def _write(part: Path, frames: Frames, report: Report) -> None:
    writer = SegmentWriter(frames.width, frames.height, frames.fps, part)
    report(0, frames.num_frames)
    for chunk in frames.chunks(_CHUNK):
        _to_disk(writer.append(chunk))
        report(writer.num_frames, frames.num_frames)
    files = [
        [path.name, length, path.stat().st_size] for path, length in zip(writer.paths, writer.lengths, strict=True)
    ]
    contents = {"width": frames.width, "height": frames.height, "fps": str(frames.fps), "files": files}
    (part / _CONTENTS).write_text(json.dumps(contents))
    _to_disk(part / _CONTENTS)


def _to_disk(path: Path) -> None:
    """After this a power cut leaves the file as it is: its size alone would not tell that it lacks its content."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove_remains(parent: Path) -> None:
    for part in parent.glob(".*.part"):
        if time.time() - part.stat().st_mtime > _LEFT_BEHIND:
            shutil.rmtree(part, ignore_errors=True)
