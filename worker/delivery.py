"""The way out of a job's files: into its store, and into the answer as base64 as far as the platform takes it."""

import asyncio
import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from .errors import JobError
from .store import ObjectStore

PLATFORM_ANSWER_BYTES = 10_000_000
"""RunPod takes 10 MB a payload of /run and 20 MB of /runsync (docs.runpod.io, serverless, operation reference). A job
does not know by which of the two it was sent, so the smaller one holds."""
UPLOADS_AT_ONCE = 4
CONTENT_TYPES = {".mp4": "video/mp4", ".png": "image/png"}
_ENTRY_BYTES = 512
"""What a file's field name or its place in base64_left_out may take in the answer, generously."""

Files = Mapping[str, Sequence[Path]]
"""{role: the files that its node wrote, as many as the output has keys}"""


@dataclass(frozen=True)
class Output:
    """Files that one node of the graph writes.

    title: the node. keys: where they go in the store, in the order in which the node names them; as many as it has
    to write. inline: may the file be answered as base64: never, always (beside the store), or only without a store.
    """

    title: str
    kind: Literal["video", "image"]
    keys: tuple[str, ...]
    inline: Literal["never", "always", "without_store"] = "never"


@dataclass(frozen=True)
class Delivered:
    """One file where the caller finds it: key and presigned URL in the store (None without one), base64 (None where
    it is not asked for, or where it would pass the platform's limit for answers)."""

    bytes: int
    key: str | None = None
    url: str | None = None
    base64: str | None = None


Placed = dict[str, list[Delivered]]


class Delivery:
    """One job's way out. `store`: where its files go, None without one; `presign_seconds`: 0 makes no URLs;
    `max_answer_bytes`: None is no limit."""

    def __init__(
        self,
        outputs: Mapping[str, Output],
        store: ObjectStore | None,
        presign_seconds: int,
        max_answer_bytes: int | None = None,
    ):
        self.outputs, self.store = outputs, store
        self._presign_seconds, self._limit = presign_seconds, max_answer_bytes

    async def upload(self, files: Files) -> Placed:
        """Every file under its key, always the same for the same job; without a store only their sizes."""
        gate = asyncio.Semaphore(UPLOADS_AT_ONCE)

        async def one(path: Path, key: str) -> Delivered:
            size = path.stat().st_size
            if self.store is None:
                return Delivered(size)
            async with gate:
                await self.store.put(path, key, CONTENT_TYPES[path.suffix])
                seconds = self._presign_seconds
                return Delivered(size, key, await self.store.presign(key, seconds) if seconds else None)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    role: [group.create_task(one(*pair)) for pair in zip(files[role], output.keys, strict=True)]
                    for role, output in self.outputs.items()
                }
        except* JobError as errors:
            raise first_of(errors) from None
        return {role: [task.result() for task in found] for role, found in tasks.items()}

    async def inline(self, files: Files, placed: Placed, answer_bytes: int) -> tuple[Placed, list[dict[str, Any]]]:
        """The same with base64 for what asks for it, and what was left out of it: {file, bytes, reason} each.

        answer_bytes: of the answer without it. What is worth most comes first in `outputs`; a file that does not fit
        is left out if it is in the store. Raises answer_too_large where there is no store.
        """
        taken, left_out = answer_bytes, []
        found = {role: list(delivered) for role, delivered in placed.items()}
        for role, index in self._inline():
            size = 4 * ((found[role][index].bytes + 2) // 3)
            taken += size + _ENTRY_BYTES
            if self._limit is None or taken <= self._limit:
                text = await asyncio.to_thread(_base64_of, files[role][index])
                found[role][index] = replace(found[role][index], base64=text)
                continue
            taken -= size
            name = role if len(found[role]) == 1 else f"{role} {index + 1}"
            reason = (
                f"As base64 it has {size / 1e6:.3f} MB; the platform takes {self._limit / 1e6:g} MB a whole answer."
            )
            left_out.append({"file": name, "bytes": found[role][index].bytes, "reason": reason})
        if left_out and self.store is None:
            raise JobError("answer_too_large", detail=f"{left_out[0]['file']}: {left_out[0]['reason']}")
        return found, left_out

    def require_room(self, answer: Mapping[str, Any]) -> None:
        """Raises answer_too_large for a whole answer that the platform would not take."""
        if self._limit is not None and (size := bytes_of(answer)) > self._limit:
            detail = f"It has {size / 1e6:.3f} MB; the platform takes {self._limit / 1e6:g} MB."
            raise JobError("answer_too_large", detail=detail)

    def _inline(self) -> Iterator[tuple[str, int]]:
        """(role, which of its files) of all that asks for base64, the worthiest first."""
        for role, output in self.outputs.items():
            if output.inline == "always" or (output.inline == "without_store" and self.store is None):
                yield from ((role, index) for index in range(len(output.keys)))


def bytes_of(answer: Mapping[str, Any]) -> int:
    """What an answer takes at most when it is sent as JSON."""
    return len(json.dumps(answer))


def require_picture(path: Path) -> None:
    """Raises output_wrong unless the file is a whole PNG: every block's checksum holds, nothing is decoded."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            picture.verify()
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise JobError("output_wrong", detail=f"{path.name} is no PNG that can be read ({error}).") from None


def first_of(errors: BaseExceptionGroup[JobError]) -> JobError:
    """The first error of a group; the others are mostly the same trouble seen by another file."""
    first = errors.exceptions[0]
    return first if isinstance(first, JobError) else first_of(first)


def _base64_of(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
