"""Tiny ONNX files with the names, inputs and outputs of DWPose's two models. They recognise nothing.

As demo/tiny_detectors.py: a picture with hardly any contrast has nobody in it, every other one has `people` people at
fixed places of the picture (the grey of the letterbox is told apart), in a fixed pose that sways with the brightness.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto

from demo.tiny_detectors import FLAT, PEOPLE, SEED, onnx_graph, save_graph, standing_pose

DETECTOR_FILE = "yolox_l.onnx"
POSE_FILE = "dw-ll_ucoco_384.onnx"
GREY = 114.0  # what YOLOX's letterbox is filled with
STEP = 8  # every 8th pixel is looked at
_FLOAT = TensorProto.FLOAT
_FIRST_CELL = 80 * 80 + 40 * 40  # of YOLOX's rows, the first of stride 32
_STRIDE = 32.0
_DEVIATION = 57.0  # the pose model's input was divided by about this


def write_tiny_dwpose(folder: str | Path, people: int = 1, prefix: str = "") -> tuple[Path, Path]:
    """Writes `<prefix>yolox_l.onnx` and `<prefix>dw-ll_ucoco_384.onnx` into `folder`; returns both paths.

    `people` 0 to 5 in every picture that is not flat. The same arguments always give the same bytes.
    """
    if not 0 <= people <= len(PEOPLE):
        raise ValueError(f"people must be 0 to {len(PEOPLE)}, not {people}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{prefix}{DETECTOR_FILE}", folder / f"{prefix}{POSE_FILE}"
    save_graph(_detector(people), paths[0])
    save_graph(_pose(), paths[1])
    return paths


def _picture_size() -> list[tuple]:
    """Nodes that give "width" and "height" [1, 1] of the letterboxed picture and "variance" [1, 1] of its values."""
    nodes = [
        ("Slice", ["images", "from", "to", "axes", "step"], "thin", {}),
        ("Sub", ["thin", "grey"], "content", {}),
        ("Abs", ["content"], "strength", {}),
    ]
    # Not grey anywhere in a column: the picture reaches there; the last such column is its right edge.
    for side, others in (("width", [1, 2]), ("height", [1, 3])):
        nodes += [
            ("ReduceMax", ["strength"], f"{side}_any", {"axes": others, "keepdims": 0}),
            ("Greater", [f"{side}_any", "half"], f"{side}_is", {}),
            ("Cast", [f"{side}_is"], f"{side}_in", {"to": _FLOAT}),
            ("Mul", [f"{side}_in", "edges"], f"{side}_edges", {}),
            ("ReduceMax", [f"{side}_edges"], f"{side}_0", {"axes": [1], "keepdims": 1}),
            ("Max", [f"{side}_0", "one"], side, {}),
        ]
    nodes += [
        ("Mul", ["width", "height"], "area", {}),
        ("Mul", ["content", "content"], "squares", {}),
    ]
    for name, source in (("mean", "content"), ("power", "squares")):
        nodes += [
            ("ReduceSum", [source, "all"], f"{name}_sum", {"keepdims": 0}),
            ("Mul", [f"{name}_sum", "by_area"], f"{name}_scaled", {}),
            ("Div", [f"{name}_scaled", "area"], name, {}),
        ]
    nodes += [("Mul", ["mean", "mean"], "mean2", {}), ("Sub", ["power", "mean2"], "variance", {})]
    return nodes


def _detector(people: int):
    """YOLOX's undecoded rows: person p in the p-th cell of stride 32, by its offsets, log sizes and certainty."""
    count = max(people, 1)
    places = np.array(PEOPLE[:count], dtype=np.float32)  # centre, size and score as fractions of the picture
    cells = np.zeros((8400, count), dtype=np.float32)
    cells[_FIRST_CELL + np.arange(count), np.arange(count)] = 1
    corner = np.stack([np.arange(count) % 20, np.arange(count) // 20], axis=1).astype(np.float32)
    classes = np.zeros((count, 80), dtype=np.float32)
    classes[:, 0] = 1
    nodes = [
        *_picture_size(),
        ("Greater", ["variance", "flat"], "busy", {}),
        ("Cast", ["busy"], "factor", {"to": _FLOAT}),
        ("Concat", ["width", "height"], "size", {"axis": 1}),
        ("Mul", ["size", "centres"], "at", {}),
        ("Sub", ["at", "corner"], "offsets", {}),
        ("Mul", ["size", "sizes"], "large", {}),
        ("Log", ["large"], "logs", {}),
        ("Concat", ["offsets", "logs", "scores", "classes"], "people", {"axis": 1}),
        ("MatMul", ["cells", "people"], "rows", {}),
        ("Mul", ["rows", "factor"], "kept", {}),
        ("Unsqueeze", ["kept", "first"], "output", {}),
    ]
    floats = {
        "grey": GREY,
        "half": 0.5,
        "one": 1.0,
        "edges": np.arange(1, 640 // STEP + 1, dtype=np.float32) * STEP,
        "by_area": STEP * STEP / 3,
        "flat": (FLAT * 255) ** 2,
        "centres": places[:, :2] / _STRIDE,
        "sizes": places[:, 2:4] / _STRIDE,
        "scores": places[:, 4:5] * (people > 0),
        "corner": corner,
        "cells": cells,
        "classes": classes,
    }
    ints = {"from": [0, 0], "to": [2**30] * 2, "axes": [2, 3], "step": [STEP] * 2, "all": [1, 2, 3], "first": [0]}
    constants = {key: np.array(value, dtype=np.float32) for key, value in floats.items()}
    constants |= {key: np.array(value, dtype=np.int64) for key, value in ints.items()}
    source, result = ("images", _FLOAT, [1, 3, 640, 640]), ("output", _FLOAT, [1, 8400, 85])
    return onnx_graph("tiny_yolox", nodes, constants, source, result)


def _pose():
    """Two rows of SimCC bins a point: Gaussians at places that sway as a sine of the brightness, high as the score."""
    places, sway = standing_pose()
    nodes = [
        ("Slice", ["input", "from", "to", "axes", "step"], "thin", {}),
        ("ReduceMean", ["thin"], "bright4", {"axes": [1, 2, 3]}),
        ("ReduceMean", ["thin"], "colour", {"axes": [2, 3]}),  # black is not the same number in all three channels
        ("Sub", ["thin", "colour"], "centred", {}),
        ("Mul", ["centred", "centred"], "squared", {}),
        ("ReduceMean", ["squared"], "variance4", {"axes": [1, 2, 3]}),
        ("Squeeze", ["variance4", "last"], "variance", {}),
        ("Squeeze", ["bright4", "last"], "brightness", {}),
        ("Greater", ["variance", "flat"], "busy", {}),
        ("Cast", ["busy"], "factor", {"to": _FLOAT}),
        ("Mul", ["scores", "factor"], "kept", {}),
        ("Mul", ["brightness", "pace"], "phase", {}),
        ("Sin", ["phase"], "swing", {}),
    ]
    for axis in "xy":
        nodes += [
            ("Mul", ["swing", f"sway_{axis}"], f"moved_{axis}", {}),
            ("Add", [f"moved_{axis}", f"place_{axis}"], f"at_{axis}", {}),
            ("Sub", [f"grid_{axis}", f"at_{axis}"], f"off_{axis}", {}),
            ("Mul", [f"off_{axis}", f"off_{axis}"], f"far_{axis}", {}),
            ("Mul", [f"far_{axis}", "falloff"], f"power_{axis}", {}),
            ("Exp", [f"power_{axis}"], f"bell_{axis}", {}),
            ("Mul", [f"bell_{axis}", "kept"], f"simcc_{axis}", {}),
        ]
    bins = {"x": 2 * 288, "y": 2 * 384}
    floats = {
        "pace": 9.0,
        "flat": (FLAT * 255 / _DEVIATION) ** 2,
        "falloff": -1 / (2 * 6.0**2),
        "scores": np.random.default_rng(SEED).uniform(0.75, 0.95, size=(1, 133, 1)),
    }
    for i, (axis, count) in enumerate(bins.items()):
        floats[f"grid_{axis}"] = np.arange(count).reshape(1, 1, count)
        floats[f"place_{axis}"] = (places[:, i] * count).reshape(1, 133, 1)
        floats[f"sway_{axis}"] = (sway[:, i] * count).reshape(1, 133, 1)
    ints = {"from": [0, 0], "to": [2**30] * 2, "axes": [2, 3], "step": [4, 4], "last": [3]}
    constants = {key: np.array(value, dtype=np.float32) for key, value in floats.items()}
    constants |= {key: np.array(value, dtype=np.int64) for key, value in ints.items()}
    results = [(f"simcc_{axis}", _FLOAT, ["batch", 133, count]) for axis, count in bins.items()]
    return onnx_graph("tiny_dwpose", nodes, constants, ("input", _FLOAT, ["batch", 3, 384, 288]), *results)
