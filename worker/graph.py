"""A pinned ComfyUI graph (API format), bound by node title and never by number.

Pure: a `Graph` is read once, never changed, and every `bind` gives a new prompt. A node is named by its
`_meta.title` together with its class, so a graph that was renamed, copied or rewired in the editor is
refused when the worker starts (`check`), not when a job runs.
"""

import copy
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.errors import JobError

NodeName = tuple[str, str]
"""(title, class_type)"""
Values = Mapping[NodeName, Mapping[str, Any]]
"""What to set: {(title, class_type): {input: value}}"""


@dataclass(frozen=True)
class Graph:
    """One graph: `nodes` in API format, `sha256` of its canonical text, `name` for messages."""

    nodes: Mapping[str, Any]
    sha256: str
    name: str = "graph"
    _by_title: Mapping[str, str] = field(default_factory=dict, repr=False)

    def titles(self) -> dict[str, str]:
        """{title: class_type} of every node."""
        return {title: self.nodes[node_id]["class_type"] for title, node_id in self._by_title.items()}

    def title_of(self, node_id: str) -> str:
        """The title of a node, or its number where the graph has none (a node made at run time: its maker's)."""
        return title_in(self.nodes, node_id)

    def check(self, wanted: Mapping[NodeName, Iterable[str]]) -> None:
        """Refuse (graph_invalid) unless every (title, class) is there once and has the named inputs."""
        for name, inputs in wanted.items():
            node = self.nodes[self._node_id(name)]
            for missing in [key for key in inputs if key not in node["inputs"]]:
                raise _invalid(f'{self.name}: node "{name[0]}" ({name[1]}) has no input "{missing}"')

    def bind(self, values: Values) -> dict[str, Any]:
        """A new API prompt with these inputs set. Only inputs that the graph pins can be set."""
        self.check(values)
        prompt = copy.deepcopy(dict(self.nodes))
        for name, inputs in values.items():
            prompt[self._node_id(name)]["inputs"].update(copy.deepcopy(dict(inputs)))
        return prompt

    def without_link(self, name: NodeName, *inputs: str) -> "Graph":
        """The same graph with links taken out; what only they needed is then not run by ComfyUI."""
        self.check({name: inputs})
        nodes = copy.deepcopy(dict(self.nodes))
        node = nodes[self._node_id(name)]
        for key in inputs:
            if not _is_link(node["inputs"][key]):
                raise _invalid(f'{self.name}: input "{key}" of "{name[0]}" is a value, not a link')
            del node["inputs"][key]
        return Graph(nodes, self.sha256, self.name, self._by_title)

    def _node_id(self, name: NodeName) -> str:
        title, class_type = name
        node_id = self._by_title.get(title)
        if node_id is None:
            raise _invalid(f'{self.name}: no node has the title "{title}" ({class_type})')
        found = self.nodes[node_id]["class_type"]
        if found != class_type:
            raise _invalid(f'{self.name}: node "{title}" is a {found}, and the worker binds a {class_type}')
        return node_id


def load_graph(path: Path) -> Graph:
    """Read one API-format file. Raises graph_invalid: unreadable, not API format, a title twice or none."""
    try:
        nodes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _invalid(f"{path.name} cannot be read: {error}") from error
    return graph_from(nodes, path.name)


def graph_from(nodes: Any, name: str = "graph") -> Graph:
    """A checked `Graph` from parsed API-format nodes; `name` is used in messages."""
    if not isinstance(nodes, dict) or not all(isinstance(n, dict) and "class_type" in n for n in nodes.values()):
        raise _invalid(f"{name} is not in ComfyUI's API format (in the editor: Workflow, Export (API))")
    by_title: dict[str, str] = {}
    for node_id, node in nodes.items():
        title = (node.get("_meta") or {}).get("title")
        if not title:
            raise _invalid(f"{name}: node {node_id} ({node['class_type']}) has no title")
        if title in by_title:
            raise _invalid(f'{name}: nodes {by_title[title]} and {node_id} have the same title "{title}"')
        by_title[title] = node_id
    for node_id, source in _dangling_links(nodes):
        raise _invalid(f"{name}: node {node_id} is linked to node {source}, which is not there")
    return Graph(nodes, sha256_of(nodes), name, by_title)


def sha256_of(nodes: Any) -> str:
    """sha256 of the canonical text, so that layout and key order of the file do not count."""
    text = json.dumps(nodes, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def title_in(prompt: Mapping[str, Any], node_id: str) -> str:
    """As `Graph.title_of`, for a bound prompt: it may have nodes that the pinned graph lacks."""
    node = prompt.get(str(node_id)) or prompt.get(re.split(r"[.:]", str(node_id))[0])
    return node["_meta"]["title"] if node else str(node_id)


def reachable(prompt: Mapping[str, Any], from_ids: Iterable[str]) -> set[str]:
    """The nodes that ComfyUI has to run for these: they themselves and all they are linked to."""
    seen: set[str] = set()
    waiting = list(from_ids)
    while waiting:
        node_id = waiting.pop()
        if node_id not in seen and node_id in prompt:
            seen.add(node_id)
            waiting += [value[0] for value in prompt[node_id]["inputs"].values() if _is_link(value)]
    return seen


def _dangling_links(nodes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for node_id, node in nodes.items():
        for value in node.get("inputs", {}).values():
            if _is_link(value) and value[0] not in nodes:
                yield node_id, value[0]


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def _invalid(detail: str) -> JobError:
    return JobError("graph_invalid", detail=detail)
