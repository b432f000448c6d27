"""What a node of the stand-in does: how many steps it reports, and which file it leaves."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.video.index import scan
from custom_nodes.comfy_motion.video.sound import find_sound
from custom_nodes.comfy_motion.video.timeline import exact_rate, resample, seconds
from demo.standin.faults import NodeFailure
from demo.standin.graph_check import linked
from demo.standin.testcard import Card, write_test_card

_PER_FRAME = ("CMDetectPose", "CMTrackPerson", "CMSaveVideo")
GENERATED = {"WanImageToVideo": "length", "SVD_img2vid_Conditioning": "video_frames"}
"""Nodes that begin a video from a picture, and their input with its number of frames."""
_ON_DISK = {("CMEncodedPrompt", "clip")}
"""Lazy inputs that are not asked for, because what they would give is on disk."""


@dataclass(frozen=True)
class Folders:
    """ComfyUI's folders under its base directory."""

    base: Path

    @property
    def input(self) -> Path:
        return self.base / "input"

    def of_type(self, kind: str) -> Path:
        """The folder of files of type input, output or temp. Raises KeyError for another."""
        return {"input": self.input, "output": self.base / "output", "temp": self.base / "temp"}[kind]


class Turn(NamedTuple):
    """A node's turn: it runs, or it only asks for its lazy inputs, to run when they are there."""

    node_id: str
    asks: bool = False


def run_order(graph: Mapping[str, Any], outputs: list[str], info: Mapping[str, Any]) -> list[Turn]:
    """The turns of the nodes that run, each after what it is made of, what its lazy inputs need last."""
    order: list[Turn] = []

    def visit(node_id: str) -> None:
        if Turn(node_id) in order:
            return
        node = graph[node_id]
        groups = info[node["class_type"]]["input"]
        specs = {**groups.get("required", {}), **groups.get("optional", {})}
        lazy = {name for name, spec in specs.items() if len(spec) > 1 and spec[1].get("lazy")}
        links = {name: value[0] for name, value in node["inputs"].items() if linked(value)}
        for name, source in links.items():
            if name not in lazy:
                visit(source)
        asked = [name for name in links if name in lazy and (node["class_type"], name) not in _ON_DISK]
        if asked:
            order.append(Turn(node_id, asks=True))
        for name in asked:
            visit(links[name])
        order.append(Turn(node_id))

    for output in outputs:
        visit(output)
    return order


def card_of(graph: Mapping[str, Any], folders: Folders) -> Card:
    """The test card that a graph should give: size, rate and range of its CMResampleVideo, length of its LoadVideo; of
    a graph that makes a video from a picture, what its nodes ask for.

    Raises NodeFailure where the real node would refuse the driving video or the range.
    """
    resampled = _first(graph, "CMResampleVideo")
    loaded = _first(graph, "LoadVideo")
    if resampled is None or loaded is None:
        return _generated_card(graph)
    inputs, path = resampled["inputs"], folders.input / str(loaded["inputs"]["file"])
    try:
        index = scan(path)
        end = seconds(inputs.get("end_time", 0)) or None
        fps = exact_rate(inputs["fps"])
        plan = resample(index.times, index.duration, fps, seconds(inputs.get("start_time", 0)), end)
        sound = find_sound(path, Fraction(0), Fraction(1)) is not None
    except MotionError as error:
        raise NodeFailure("comfy_motion.errors.MotionError", str(error)) from error
    return Card(int(inputs["width"]), int(inputs["height"]), plan.fps, plan.num_frames, sound)


def _generated_card(graph: Mapping[str, Any]) -> Card:
    """Of a video made from a picture: its frames, those of several scenes without the ones that two of them share."""
    nodes = [node for node in graph.values() if node["class_type"] in GENERATED]
    if not nodes:
        return Card()
    decoded, sized = _first(graph, "CMDecodeVideo"), _first(graph, "CMCompositeMotion") or nodes[0]
    frames = sum(int(node["inputs"][GENERATED[node["class_type"]]]) for node in nodes) - (len(nodes) - 1)
    fps = exact_rate(decoded["inputs"].get("fps", 16)) if decoded else Fraction(16)
    return Card(int(sized["inputs"]["width"]), int(sized["inputs"]["height"]), fps, frames, sound=False)


def steps_of(node: Mapping[str, Any], graph: Mapping[str, Any], card: Card) -> tuple[int, int]:
    """(windows, steps in each) that a node reports; (0, 0) for a node that reports none."""
    if node["class_type"] == "CMAnimateWindows":
        length, overlap = int(node["inputs"].get("length", 77)), int(node["inputs"].get("overlap", 5))
        windows = 1 + max(0, ceil((card.num_frames - length) / max(1, length - overlap)))
        return windows, _scheduled(graph)
    if node["class_type"] in _PER_FRAME:
        return 1, 8
    if node["class_type"] in ("KSampler", "KSamplerAdvanced"):
        return 1, int(node["inputs"]["steps"])
    if node["class_type"] == "SamplerCustomAdvanced":
        return 1, _scheduled(graph)
    return 0, 0


def _scheduled(graph: Mapping[str, Any]) -> int:
    """The sampling steps of the graph's scheduler."""
    scheduler = _first(graph, "BasicScheduler")
    return int(scheduler["inputs"]["steps"]) if scheduler else 6


def leave_output(
    node: Mapping[str, Any], graph: Mapping[str, Any], folders: Folders, card: Card
) -> dict[str, Any] | None:
    """Write what an output node writes; gives its `output` as in history, None for a node that leaves nothing."""
    kind = node["class_type"]
    if kind in ("CMSaveVideo", "SaveVideo", "SaveWEBM"):
        path, item = _new_file(folders, "output", str(node["inputs"]["filename_prefix"]), ".mp4")
        write_test_card(path, card)
        return {"images": [item], "animated": [True]}
    if kind in ("SaveImage", "PreviewImage"):
        place = "output" if kind == "SaveImage" else "temp"
        path, item = _new_file(folders, place, str(node["inputs"].get("filename_prefix", "ComfyUI_temp")), ".png")
        Image.fromarray(np.full((64, 64, 3), 127, np.uint8)).save(path)
        return {"images": [item]}
    if kind == "CMSaveMasks":
        return _leave_masks(node, graph, folders)
    return None


def _leave_masks(node: Mapping[str, Any], graph: Mapping[str, Any], folders: Folders) -> dict[str, Any]:
    """One white PNG for each box of the CMSegmentImage, or one for all its points."""
    prompts = _first(graph, "CMSegmentImage")
    boxes = json.loads((prompts["inputs"].get("boxes") if prompts else "") or "[null]")
    items = []
    for _ in boxes:
        path, item = _new_file(folders, "output", str(node["inputs"]["filename_prefix"]), ".png")
        Image.fromarray(np.full((64, 64), 255, np.uint8)).save(path)
        items.append(item)
    return {"images": items, "masks": [{"score": 0.5, "bbox": box} for box in boxes]}


def missing_output(output: dict[str, Any], folders: Folders) -> None:
    """Delete the files that an output names, for the fault missing_file."""
    for item in output["images"]:
        (folders.of_type(item["type"]) / item["subfolder"] / item["filename"]).unlink()


def _new_file(folders: Folders, kind: str, prefix: str, suffix: str) -> tuple[Path, dict[str, str]]:
    """The next free `<prefix>_00001_<suffix>` and how ComfyUI names it. Raises NodeFailure outside the folder."""
    root = folders.of_type(kind).resolve()
    start = (root / prefix).resolve()
    if not start.is_relative_to(root):
        raise NodeFailure("Exception", "**** ERROR: Saving image outside the output folder is not allowed.")
    start.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while (path := start.with_name(f"{start.name}_{number:05}_{suffix}")).exists():
        number += 1
    subfolder = start.parent.relative_to(root).as_posix()
    return path, {"filename": path.name, "subfolder": "" if subfolder == "." else subfolder, "type": kind}


def _first(graph: Mapping[str, Any], class_type: str) -> Mapping[str, Any] | None:
    return next((node for node in graph.values() if node["class_type"] == class_type), None)
