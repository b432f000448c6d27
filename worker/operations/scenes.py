"""A chain of scenes out of the graph of one: each begins where the one before ended, and one MP4 comes out.

Pure: the pinned graph stays as it is, the chain is a new one. Models, text encoder, VAE, sampler, steps and negative
prompt are shared; what a scene has of its own is copied for every scene after the first and titled
"<title> (scene k)". A scene starts from the last decoded frame of the one before, never from a compressed file.
"""

import copy
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from worker.errors import JobError
from worker.graph import Graph, NodeName, graph_from

PROMPT: NodeName = ("Prompt", "CLIPTextEncode")
IMAGE_TO_VIDEO: NodeName = ("Image to video", "WanImageToVideo")
NOISE: NodeName = ("Noise", "RandomNoise")
HIGH_GUIDER: NodeName = ("High-noise guider", "CFGGuider")
LOW_GUIDER: NodeName = ("Low-noise guider", "CFGGuider")
HIGH_STEPS: NodeName = ("High-noise steps", "SamplerCustomAdvanced")
LOW_STEPS: NodeName = ("Low-noise steps", "SamplerCustomAdvanced")
DECODE: NodeName = ("Decode video", "CMDecodeVideo")
KEEP: NodeName = ("Keep segment", "CMKeepFrames")
SAVE_VIDEO: NodeName = ("Save MP4", "CMSaveVideo")
SAVE_LAST: NodeName = ("Save last frame", "SaveImage")
MATCH: NodeName = ("Match colour", "CMMatchColour")
JOIN: NodeName = ("Join", "CMJoinFrames")

PER_SCENE: tuple[NodeName, ...] = (
    PROMPT,
    IMAGE_TO_VIDEO,
    NOISE,
    HIGH_GUIDER,
    LOW_GUIDER,
    HIGH_STEPS,
    LOW_STEPS,
    DECODE,
    KEEP,
)
"""What every scene has of its own, in the order in which it runs."""
FRAMES, LAST_FRAME = 0, 1
"""Outputs of Keep Frames; Match Colour and Join Frames give their frames as output 0, too."""


def of_scene(name: NodeName, number: int) -> NodeName:
    """The name of a scene's node; scenes count from 1, and the first has the pinned graph's own titles."""
    return name if number == 1 else (f"{name[0]} (scene {number})", name[1])


def unroll(graph: Graph, count: int) -> Graph:
    """The graph of `count` scenes (at least 1; for 1 the very same graph). Total frames: the sum, less count - 1.

    Scene k (from 2) starts from the last frame of scene k - 1, its colours are matched to that same frame, and its
    first frame, which repeats it, is dropped where the two are joined. Raises graph_invalid where the pinned graph
    does not have the nodes and links for that.
    """
    if count == 1:
        return graph
    own = _own_ids(graph)
    first = own[KEEP]
    nodes = copy.deepcopy(dict(graph.nodes))
    fresh = _fresh_ids(nodes)
    joined = kept = first
    for number in range(2, count + 1):
        start = [kept, LAST_FRAME]
        copied = _copy_scene(nodes, own, number, fresh)
        kept = copied[KEEP]
        nodes[copied[IMAGE_TO_VIDEO]]["inputs"]["start_image"] = start
        match, join = next(fresh), next(fresh)
        decoded = nodes[kept]["inputs"]["frames"]
        nodes[match] = _node(MATCH, number, {"frames": decoded, "reference": start, "strength": 1.0})
        nodes[kept]["inputs"]["frames"] = [match, FRAMES]
        nodes[join] = _node(JOIN, number, {"first": [joined, FRAMES], "second": [kept, FRAMES], "drop": 1})
        joined = join
    ids = _ids(nodes)
    nodes[ids[SAVE_VIDEO]]["inputs"]["frames"] = [joined, FRAMES]
    nodes[ids[SAVE_LAST]]["inputs"]["images"] = [kept, LAST_FRAME]
    return graph_from(nodes, f"{graph.name} with {count} scenes")


def _own_ids(graph: Graph) -> dict[NodeName, str]:
    """{name: id} of what a scene has of its own. Refuses a graph that cannot be chained by copying just that."""
    inputs = {IMAGE_TO_VIDEO: ["start_image"], KEEP: ["frames"], SAVE_VIDEO: ["frames"], SAVE_LAST: ["images"]}
    graph.check({**{name: [] for name in PER_SCENE}, **inputs})
    ids = _ids(graph.nodes)
    own = {name: ids[name] for name in PER_SCENE}
    ends = {SAVE_VIDEO: ("frames", FRAMES), SAVE_LAST: ("images", LAST_FRAME)}
    for name, (key, output) in ends.items():
        if graph.nodes[ids[name]]["inputs"][key] != [own[KEEP], output]:
            raise _unfit(graph, f'"{name[0]}" does not take its {key} from output {output} of "{KEEP[0]}"')
    # A node between, put in by hand in the editor, would go on working on the first scene in every other one.
    for name, node_id in ids.items():
        if name not in own and name not in ends:
            for source in set(_sources(graph.nodes[node_id])) & set(own.values()):
                raise _unfit(graph, f'"{name[0]}" hangs on "{graph.title_of(source)}", which each scene has of its own')
    return own


def _copy_scene(
    nodes: dict[str, Any], own: Mapping[NodeName, str], number: int, fresh: Iterator[str]
) -> dict[NodeName, str]:
    """Copies of a scene's nodes, linked among themselves as in the first scene: {name in the first scene: new id}."""
    copied = {name: next(fresh) for name in PER_SCENE}
    moved = {own[name]: copied[name] for name in PER_SCENE}
    for name, new_id in copied.items():
        node = copy.deepcopy(nodes[own[name]])
        node["_meta"]["title"] = of_scene(name, number)[0]
        for key, value in node["inputs"].items():
            if _is_link(value):
                node["inputs"][key] = [moved.get(value[0], value[0]), value[1]]
        nodes[new_id] = node
    return copied


def _node(name: NodeName, number: int, inputs: dict[str, Any]) -> dict[str, Any]:
    title, class_type = of_scene(name, number)
    return {"class_type": class_type, "_meta": {"title": title}, "inputs": inputs}


def _ids(nodes: Mapping[str, Any]) -> dict[NodeName, str]:
    return {(node["_meta"]["title"], node["class_type"]): node_id for node_id, node in nodes.items()}


def _fresh_ids(nodes: Mapping[str, Any]) -> Iterator[str]:
    """Ids that no node has. Numbers, as the editor makes them: it can open what a picture's metadata holds."""
    taken = max((int(node_id) for node_id in nodes if node_id.isdecimal()), default=0)
    return map(str, itertools.count(taken + 1))


def _sources(node: Mapping[str, Any]) -> list[str]:
    return [value[0] for value in node["inputs"].values() if _is_link(value)]


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def _unfit(graph: Graph, detail: str) -> JobError:
    return JobError("graph_invalid", detail=f"{graph.name}: {detail}; scenes cannot be chained")
