"""What a result was made from, as one value: the graph in front of it and the files that graph reads.

Two graphs have the same signature when they would make the same thing: node ids, titles, and the names of input
files do not count; class types, widget values, what is linked to what, the content of input files, and size and time
of model files do. So a job that is run again under another id, with its picture uploaded anew, finds what it had
finished. What a node takes from elsewhere (the clock, the network) is not seen.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Identity = Callable[[str], Any]
"""What a widget's text stands for: None for a mere text, else something JSON can write that names a file's content."""

_LONGEST_NAME = 1024


def signature(prompt: Mapping[str, Any], link: Any, identity: Identity = lambda text: None, version: str = "") -> str:
    """64 hex digits over all that stands in front of `link` ([node id, output], API format).

    version: of whatever else the result depends on. Raises KeyError where a link leads to a node that `prompt` lacks,
    ValueError for a link that is none and for links in a circle.
    """
    if not _is_link(link):
        raise ValueError(f"{link!r} is not a link to a node")
    digests: dict[str, str] = {}
    begun: set[str] = set()
    waiting = [link[0]]
    while waiting:  # not recursive: a chain of scenes is hundreds of nodes deep
        node_id = waiting[-1]
        sources = {value[0] for value in prompt[node_id]["inputs"].values() if _is_link(value)}
        missing = sorted(sources - digests.keys())
        if missing and node_id in begun:
            raise ValueError(f"node {node_id} is linked to itself")
        if missing:
            begun.add(node_id)
            waiting += missing
            continue
        digests[node_id] = digests.get(node_id) or _node_digest(prompt[node_id], digests, identity)
        waiting.pop()
    return _digest([version, digests[link[0]], link[1]])


def comfyui_files(text: str) -> Any:
    """What `text` stands for in this ComfyUI: an input file by content, a model file or one named
    by its whole path by name, size and time, anything else None."""
    import folder_paths

    if not text or len(text) > _LONGEST_NAME or not text.isprintable():
        return None
    found: dict[str, Any] = {}
    if folder_paths.exists_annotated_filepath(text):
        path = Path(folder_paths.get_annotated_filepath(text))
        if path.is_file():
            found["content"] = _content(path)
    models = [folder_paths.get_full_path(folder, text) for folder in sorted(folder_paths.folder_names_and_paths)]
    others = [Path(model) for model in models if model]
    if not found and Path(text).is_absolute() and Path(text).is_file():
        others.append(Path(text))
    if others:
        found["name"] = text
        found["files"] = [[path.stat().st_size, path.stat().st_mtime_ns] for path in others]
    return found or None


def _node_digest(node: Mapping[str, Any], digests: Mapping[str, str], identity: Identity) -> str:
    inputs = {
        name: ["link", digests[value[0]], value[1]] if _is_link(value) else ["value", _plain(value, identity)]
        for name, value in node["inputs"].items()
    }
    return _digest([node["class_type"], inputs])


def _plain(value: Any, identity: Identity) -> Any:
    """A widget's value with every text in it that stands for a file put as what it stands for."""
    if isinstance(value, str):
        found = identity(value)
        return ["text", value] if found is None else ["file", found]
    if isinstance(value, Mapping):
        return {str(key): _plain(item, identity) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, identity) for item in value]
    return value


def _is_link(value: Any) -> bool:
    """As ComfyUI tells links from values: [node id, output]."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


_contents: dict[tuple[str, int, int], str] = {}


def _content(path: Path) -> str:
    """sha256 of a file, computed once for as long as its size and time stay."""
    status = path.stat()
    key = str(path), status.st_size, status.st_mtime_ns
    if key not in _contents:
        with path.open("rb") as file:
            _contents[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _contents[key]
