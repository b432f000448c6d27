"""Which nodes of a graph run, and how the time of a job spreads over them.

Only the smoothness of the percentage depends on the shares.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from worker.graph import reachable

OTHER_NODES = 0.1
"""For nodes that only pass something on."""


def running(nodes: Mapping[str, Any], ends: Iterable[str]) -> dict[str, Any]:
    """The nodes that run for the nodes titled `ends`, in their order; ComfyUI would check the others, too, and warn."""
    wanted = set(ends)
    needed = reachable(nodes, [node_id for node_id, node in nodes.items() if node["_meta"]["title"] in wanted])
    return {node_id: node for node_id, node in nodes.items() if node_id in needed}


def shares_of(nodes: Mapping[str, Any], ends: Iterable[str], costs: Mapping[str, float]) -> dict[str, float]:
    """{title: share} of every node that runs for the nodes titled `ends`; `costs` {title: share}, in any unit."""
    titles = (node["_meta"]["title"] for node in running(nodes, ends).values())
    return {title: costs.get(title, OTHER_NODES) for title in titles}
