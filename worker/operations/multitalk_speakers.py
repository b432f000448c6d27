"""Who speaks in a multitalk picture: boxes or points in its own pixels, carried over into the picture that the model
sees. Pure.

"Fit picture" scales the picture to cover a size of the model and cuts out its middle; the rule here is the node's
(custom_nodes/comfy_motion/talk/fit_picture.py), and a test holds the two together.
"""

import copy
import json
from collections.abc import Sequence
from itertools import combinations
from math import ceil, floor, isqrt
from typing import Annotated

from pydantic import Field

from worker.errors import JobError
from worker.graph import Graph, NodeName, graph_from
from worker.media import ImageInfo
from worker.operations.base import refusal

SEGMENT: NodeName = ("Segment speakers", "CMSegmentImage")
SECOND: NodeName = ("Segment second speaker", "CMSegmentImage")
BOTH: NodeName = ("Both masks", "BatchMasksNode")
WHO: NodeName = ("Who speaks", "CMSpeakers")

AREAS = {"480p": 832 * 480, "720p": 1280 * 720}
GRID, SMALLEST = 16, 64
OVERLAP = 0.5
"""Of the smaller box: above it two boxes are one person's."""
BOX, POINT = 4, 2
SIDES = ("left", "right")
"""Where the people of two voices are when nothing is said: the published rule."""
_ORDER = "Coordinates are pixels of the picture as it is seen, [x1, y1, x2, y2] or [x, y], counted from 0."

Place = Annotated[list[float], Field(min_length=POINT, max_length=BOX)]
Places = Annotated[list[Place], Field(min_length=1)]


def fitted_size(width: int, height: int, resolution: str) -> tuple[int, int]:
    """Width and height of the video for a picture of width x height: Wan's published rule, at least 64 a side.

    Each side is the root of the resolution's area times the aspect, down to a multiple of 16.
    """
    area = AREAS[resolution]
    wide, high = (isqrt(area * one // other) // GRID * GRID for one, other in ((width, height), (height, width)))
    return max(SMALLEST, wide), max(SMALLEST, high)


def check_places(places: Sequence[Sequence[float]], voices: int) -> None:
    """For validators: refuses (invalid_value, speakers_overlap) what is wrong whatever the picture is."""
    if len(places) != voices:
        text = f"`speakers` names {len(places)}, and there are {voices} voices."
        raise refusal("invalid_value", text, "speakers", "Send one box or one point a voice, audio_1's first.")
    for number, place in enumerate(places):
        if len(place) not in (BOX, POINT):
            text = f"{_named(places, number)} has {len(place)} numbers."
            raise refusal("invalid_value", text, f"speakers.{number}", _ORDER)
        if min(place) < 0:
            raise refusal("invalid_value", f"{_named(places, number)} is outside it.", f"speakers.{number}", _ORDER)
        if len(place) == BOX and (place[2] - place[0] < 1 or place[3] - place[1] < 1):
            text = f"{_named(places, number)} is empty: x2 is wanted right of x1, and y2 below y1."
            raise refusal("invalid_value", text, f"speakers.{number}", _ORDER)
    if len({len(place) for place in places}) > 1:
        text = "`speakers` has boxes and points."
        raise refusal("invalid_value", text, "speakers", "Send boxes for all voices, or points for all.")
    for first, second in combinations(places, 2):
        if len(first) == POINT and list(first) == list(second):
            raise refusal("speakers_overlap", f"Both points are {_shown(first)}.", "speakers")
        if len(first) == BOX and (share := _shared(first, second)) > OVERLAP:
            percent = max(int(share * 100), int(OVERLAP * 100) + 1)
            text = f"The boxes {_shown(first)} and {_shown(second)} share {percent} % of the smaller one; at most half."
            raise refusal("speakers_overlap", text, "speakers")


def in_fitted(places: Sequence[Sequence[float]], image: ImageInfo, size: tuple[int, int]) -> list[list[float]]:
    """The places in the fitted picture's pixels; a box loses what is cut off.

    size: of the fitted picture. Raises JobError invalid_value for a place outside the picture, and for one of which
    the crop leaves nothing.
    """
    found = []
    for number, place in enumerate(places):
        is_box = len(place) == BOX
        beyond = max(place[-2] - image.width, place[-1] - image.height)
        what = _named(places, number)
        if beyond > 0 or (beyond == 0 and not is_box):
            detail = f"{what} is outside it: it has {image.width}x{image.height} pixels."
            raise JobError("invalid_value", f"speakers.{number}", detail, _ORDER)
        moved = _moved(place, image, size)
        inside = [min(max(value, 0.0), float(size[axis % 2])) for axis, value in enumerate(moved)]
        lost = (
            min(inside[2] - inside[0], inside[3] - inside[1]) < 1 if is_box else inside != moved or _at_end(moved, size)
        )
        if lost:
            detail = f"{what} is in the margin that is cut off: the video has {size[0]}x{size[1]} pixels, the middle."
            hint = "Crop or pad the picture to the video's aspect, or give a place nearer to its middle."
            raise JobError("invalid_value", f"speakers.{number}", detail, hint)
        # Rounded down: a point just inside stays inside.
        found.append([floor(value * 1000) / 1000 for value in inside])
    return found


def prompts(places: Sequence[Sequence[float]]) -> dict[NodeName, dict[str, str]]:
    """What the nodes that make the masks are asked: all boxes at once, or each point by itself."""
    if len(places[0]) == BOX:
        return {SEGMENT: {"boxes": json.dumps(places), "points": "", "point_labels": ""}}
    names = (SEGMENT, SECOND)
    asked = ({"boxes": "", "points": json.dumps([place]), "point_labels": "[1]"} for place in places)
    return dict(zip(names, asked, strict=False))


def with_points_apart(graph: Graph) -> Graph:
    """The graph with a mask of its own for each of two points: SAM2 takes several points for one thing.

    Raises graph_invalid where the pinned graph has not what it takes.
    """
    graph.check({SEGMENT: ["sam2", "image"], WHO: ["masks"]})
    nodes = copy.deepcopy(dict(graph.nodes))
    ids = {(node["_meta"]["title"], node["class_type"]): node_id for node_id, node in nodes.items()}
    taken = max((int(node_id) for node_id in nodes if node_id.isdecimal()), default=0)
    second, both = str(taken + 1), str(taken + 2)
    nodes[second] = copy.deepcopy(nodes[ids[SEGMENT]])
    nodes[second]["_meta"]["title"] = SECOND[0]
    masks = {"masks.mask0": [ids[SEGMENT], 0], "masks.mask1": [second, 0]}
    nodes[both] = {"class_type": BOTH[1], "_meta": {"title": BOTH[0]}, "inputs": masks}
    nodes[ids[WHO]]["inputs"]["masks"] = [both, 0]
    return graph_from(nodes, f"{graph.name} with two points")


def _moved(place: Sequence[float], image: ImageInfo, size: tuple[int, int]) -> list[float]:
    """Scaled by the larger factor to whole pixels that cover `size`, less what is cut off before the middle."""
    sides = (image.width, image.height)
    scale = max(wanted / side for wanted, side in zip(size, sides, strict=True))
    covering = [max(wanted, ceil(scale * side - 1e-9)) for wanted, side in zip(size, sides, strict=True)]
    factors = [cover / side for cover, side in zip(covering, sides, strict=True)]
    margins = [round((cover - wanted) / 2) for cover, wanted in zip(covering, size, strict=True)]
    return [value * factors[axis % 2] - margins[axis % 2] for axis, value in enumerate(place)]


def _at_end(point: Sequence[float], size: tuple[int, int]) -> bool:
    """On the right or lower edge, which no pixel is."""
    return point[0] >= size[0] or point[1] >= size[1]


def _shared(first: Sequence[float], second: Sequence[float]) -> float:
    """What two boxes have in common, of the smaller one's area."""
    wide = min(first[2], second[2]) - max(first[0], second[0])
    high = min(first[3], second[3]) - max(first[1], second[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return max(0.0, wide) * max(0.0, high) / min(areas)


def _named(places: Sequence[Sequence[float]], number: int) -> str:
    what = {BOX: "Box", POINT: "Point"}.get(len(places[number]), "Speaker")
    return f"{what} {number + 1} of {len(places)} in the picture, {_shown(places[number])},"


def _shown(numbers: Sequence[float]) -> str:
    return f"[{', '.join(f'{number:g}' for number in numbers)}]"
