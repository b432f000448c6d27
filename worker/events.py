"""What ComfyUI tells about a running prompt, as types. Pure: no network here.

Facts of ComfyUI v0.33.0 (its server.py and execution.py): text frames are `{"type", "data"}`; a binary frame
starts with a big-endian u32 kind, and kind 3 is a text from a node: u32 length of the node id, node id, text.
After a reconnect the first `executing` has no prompt id, because it is meant for whoever has this client id.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

BINARY_TEXT = 3


@dataclass(frozen=True)
class Started:
    """The prompt left the queue and runs."""


@dataclass(frozen=True)
class Cached:
    """These nodes will not run: their result is known from an earlier prompt."""

    nodes: tuple[str, ...]


@dataclass(frozen=True)
class NodeStarted:
    """A node runs now. Told again after a reconnect, and for a node that waited for a lazy input."""

    node_id: str


@dataclass(frozen=True)
class NodeProgress:
    """`value` of `maximum` steps of a node are done."""

    node_id: str
    value: float
    maximum: float


@dataclass(frozen=True)
class NodeFinished:
    """A node is done. May be told more than once."""

    node_id: str


@dataclass(frozen=True)
class Text:
    """A line that a node shows about itself, such as "window 2 of 5"."""

    node_id: str
    text: str


@dataclass(frozen=True)
class OutputFile:
    """A file that a node wrote; `type` is ComfyUI's folder: "output", "temp" or "input"."""

    node_id: str
    filename: str
    subfolder: str
    type: str


@dataclass(frozen=True)
class Finished:
    """The prompt ended well; always the last event. `said`: {node id: {kind: [...]}} that nodes told besides files."""

    outputs: tuple[OutputFile, ...]
    said: Mapping[str, Mapping[str, list[Any]]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class EndHint:
    """The socket says that the prompt is over. Only a reason to ask for the truth, never the truth itself."""


Event = Started | Cached | NodeStarted | NodeProgress | NodeFinished | Text | Finished
_ENDS = ("execution_success", "execution_error", "execution_interrupted")


def read_frame(frame: str | bytes, prompt_id: str) -> list[Event | EndHint]:
    """The events of one websocket frame; none for other prompts, previews, the queue status and unreadable frames."""
    if isinstance(frame, bytes):
        return _read_binary(frame)
    try:
        message = json.loads(frame)
        kind, data = message["type"], message.get("data")
    except (ValueError, KeyError, TypeError):
        return []
    if not isinstance(data, Mapping) or data.get("prompt_id", prompt_id) != prompt_id:
        return []
    try:
        return _read_message(kind, data)
    except (KeyError, TypeError, ValueError):  # news of a shape we do not know is no reason to lose the job
        return []


def _read_message(kind: str, data: Mapping[str, Any]) -> list[Event | EndHint]:
    if kind == "execution_start":
        return [Started()]
    if kind == "execution_cached":
        return [Cached(tuple(str(node) for node in data["nodes"]))]
    if kind == "executing":
        return [EndHint()] if data["node"] is None else [NodeStarted(str(data["node"]))]
    if kind == "progress":
        return [NodeProgress(str(data["node"]), float(data["value"]), float(data["max"]))]
    if kind == "progress_state":
        return [NodeFinished(str(node)) for node, state in data["nodes"].items() if state["state"] == "finished"]
    return [EndHint()] if kind in _ENDS else []


def _read_binary(frame: bytes) -> list[Event | EndHint]:
    """A node's text. It has no prompt id, which is why every prompt gets a socket (client id) of its own."""
    if len(frame) < 8 or struct.unpack(">I", frame[:4])[0] != BINARY_TEXT:
        return []
    length = struct.unpack(">I", frame[4:8])[0]
    node_id, text = frame[8 : 8 + length], frame[8 + length :]
    return [Text(node_id.decode("utf-8", "replace"), text.decode("utf-8", "replace"))]


def output_files(outputs: Mapping[str, Any] | None) -> tuple[OutputFile, ...]:
    """Every file named in a job's `outputs`: {node id: {kind: [{filename, subfolder, type}, ...]}}."""
    found = []
    for node_id, _, items in _told(outputs):
        for item in filter(_is_file, items):
            place = (str(item.get("subfolder") or ""), str(item.get("type") or "output"))
            found.append(OutputFile(node_id, str(item["filename"]), *place))
    return tuple(found)


def said_besides(outputs: Mapping[str, Any] | None) -> dict[str, dict[str, list[Any]]]:
    """{node id: {kind: [...]}} of a job's `outputs`: whatever nodes told that is no file, in their order."""
    found: dict[str, dict[str, list[Any]]] = {}
    for node_id, kind, items in _told(outputs):
        if others := [item for item in items if not _is_file(item)]:
            found.setdefault(node_id, {})[kind] = others
    return found


def _told(outputs: Mapping[str, Any] | None) -> Iterator[tuple[str, str, list[Any]]]:
    """(node id, kind, items) of every list in a job's `outputs`."""
    for node_id, kinds in (outputs or {}).items():
        for kind, items in kinds.items() if isinstance(kinds, Mapping) else ():
            if isinstance(items, list):
                yield str(node_id), str(kind), items


def _is_file(item: Any) -> bool:
    return isinstance(item, Mapping) and bool(item.get("filename"))
