"""Tiny ONNX detectors with the true models' names, shapes and types. They recognise nothing.

What they answer is drawn from a table: a picture with hardly any contrast has nobody in it, every other picture has
`people` people at fixed places, standing in a fixed pose that sways with the brightness of the crop. On demand, a
picture that is lighter between two people than where they are has two. They let the whole path run where 2.6 GB of
real weights cannot be had; no result made with them is a result of the models.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SEED = 20
DETECTOR_FILE = "yolov10m.onnx"
POSE_FILE = "vitpose_h_wholebody_model.onnx"
FLAT = 0.02  # standard deviation of 0..1 values under which a picture is empty
POSE_DEVIATION = 0.226  # ViTPose's input was divided by about this
_OPSET, _IR = 17, 8

# Centre x, y and width, height as fractions of the picture: the first is the largest, the others stand about it.
PEOPLE = [
    (0.50, 0.53, 0.30, 0.84, 0.90),
    (0.20, 0.55, 0.16, 0.62, 0.85),
    (0.82, 0.56, 0.18, 0.70, 0.80),
    (0.06, 0.60, 0.09, 0.44, 0.70),
    (0.95, 0.60, 0.07, 0.38, 0.60),
]

PAIR = [(0.26, 0.55, 0.46, 0.50, 0.90), (0.80, 0.55, 0.38, 0.46, 0.85)]
LIGHTER = 0.06
"""Brightness by which the middle of a picture is above both sides where two people are seen. The sample of two people
has 0.11; every other picture and frame of the samples is below 0.02."""
_STRIPS = {"left": (0, 240), "middle": (260, 380), "right": (400, 640)}  # columns of the 640; all of the rows below
_ROWS = (160, 480)


def write_tiny_detectors(
    folder: str | Path, people: int = 1, face: bool = True, prefix: str = "", pairs: bool = False
) -> tuple[Path, Path]:
    """Writes `<prefix>yolov10m.onnx` and `<prefix>vitpose_h_wholebody_model.onnx` into `folder`; returns both paths.

    `people` 0 to 5 in every picture that is not flat; with `face` False no face is ever seen; with `pairs` two people,
    left and right, in a picture that is LIGHTER in its middle. The same arguments always give the same bytes.
    """
    if not 0 <= people <= len(PEOPLE):
        raise ValueError(f"people must be 0 to {len(PEOPLE)}, not {people}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{prefix}{DETECTOR_FILE}", folder / f"{prefix}{POSE_FILE}"
    save_graph(_detector(people, pairs), paths[0])
    save_graph(_pose(face), paths[1])
    return paths


def save_graph(graph, path: Path) -> None:
    """Checks a graph and writes it as an ONNX file; the same graph always gives the same bytes."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="comfy-motion")
    model.ir_version = _IR
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def onnx_graph(name: str, nodes: list[tuple], constants: dict[str, np.ndarray], source: tuple, *results: tuple):
    """A graph of (operator, inputs, output, attributes) rows."""
    return helper.make_graph(
        [helper.make_node(op, inputs, [output], **attributes) for op, inputs, output, attributes in nodes],
        name,
        [helper.make_tensor_value_info(*source)],
        [helper.make_tensor_value_info(*result) for result in results],
        [numpy_helper.from_array(array, key) for key, array in constants.items()],
    )


def _contrast(source: str, step: int) -> tuple[list[tuple], dict[str, np.ndarray]]:
    """Nodes that give "brightness" and "variance" [N, 1, 1, 1] of every `step`-th pixel of `source`."""
    ints = {"from": [0, 0], "to": [2**30, 2**30], "axes": [2, 3], "step": [step, step]}
    nodes = [
        ("Slice", [source, "from", "to", "axes", "step"], "thin", {}),
        ("ReduceMean", ["thin"], "brightness", {"axes": [1, 2, 3]}),
        ("Sub", ["thin", "brightness"], "centred", {}),
        ("Mul", ["centred", "centred"], "squared", {}),
        ("ReduceMean", ["squared"], "variance", {"axes": [1, 2, 3]}),
    ]
    return nodes, {key: np.array(value, dtype=np.int64) for key, value in ints.items()}


def _detector(people: int, pairs: bool):
    nodes, constants = _contrast("images", 8)
    nodes += [
        ("Greater", ["variance", "flat"], "busy", {}),
        ("Cast", ["busy"], "factor", {"to": TensorProto.FLOAT}),
        ("Squeeze", ["factor", "last"], "factor3", {}),
    ]
    constants |= {"flat": np.array(FLAT**2, dtype=np.float32), "last": np.array([3], dtype=np.int64)}
    constants["rows"] = _rows(PEOPLE[:people])
    if pairs:
        more, values = _lighter_middle()
        nodes += [*more, ("Where", ["is_pair", "pair_rows", "rows"], "seen", {})]
        constants |= values
    nodes.append(("Mul", ["seen" if pairs else "rows", "factor3"], "output0", {}))
    source, result = ("images", TensorProto.FLOAT, [1, 3, 640, 640]), ("output0", TensorProto.FLOAT, [1, 300, 6])
    return onnx_graph("tiny_yolov10m", nodes, constants, source, result)


def _rows(people: list[tuple[float, ...]]) -> np.ndarray:
    """YOLOv10's answer: x1, y1, x2, y2 in pixels of the 640, score, class."""
    rows = np.zeros((1, 300, 6), dtype=np.float32)
    for row, (x, y, w, h, score) in zip(rows[0], people, strict=False):
        row[:] = [640 * (x - w / 2), 640 * (y - h / 2), 640 * (x + w / 2), 640 * (y + h / 2), score, 0]
    return rows


def _lighter_middle() -> tuple[list[tuple], dict[str, np.ndarray]]:
    """Nodes that give "is_pair", a boolean [1, 1, 1]: the picture is lighter in its middle than on either side."""
    nodes: list[tuple] = []
    constants = {"at": np.array([2, 3], dtype=np.int64), "pair_rows": _rows(PAIR)}
    for name, columns in _STRIPS.items():
        for end, row, column in zip(("from", "to"), _ROWS, columns, strict=True):
            constants[f"{name}_{end}"] = np.array([row, column], dtype=np.int64)
        nodes += [
            ("Slice", ["images", f"{name}_from", f"{name}_to", "at"], f"{name}_strip", {}),
            ("ReduceMean", [f"{name}_strip"], name, {"axes": [1, 2, 3]}),
        ]
    nodes += [
        ("Max", ["left", "right"], "lighter_side", {}),
        ("Sub", ["middle", "lighter_side"], "between", {}),
        ("Greater", ["between", "margin"], "is_pair4", {}),
        ("Squeeze", ["is_pair4", "last"], "is_pair", {}),
    ]
    return nodes, constants | {"margin": np.array(LIGHTER, dtype=np.float32)}


def _pose(face: bool):
    """Separable Gaussians at places that sway as a sine of the brightness, times a score for each point."""
    places, sway = standing_pose()
    scores = np.random.default_rng(SEED).uniform(0.75, 0.95, size=133)
    scores[23:91] *= face
    nodes, constants = _contrast("input_0", 4)
    nodes += [("Mul", ["brightness", "pace"], "phase", {}), ("Sin", ["phase"], "swing", {})]
    for axis in "xy":
        nodes += [
            ("Mul", ["swing", f"sway_{axis}"], f"moved_{axis}", {}),
            ("Add", [f"moved_{axis}", f"place_{axis}"], f"at_{axis}", {}),
            ("Sub", [f"grid_{axis}", f"at_{axis}"], f"off_{axis}", {}),
            ("Mul", [f"off_{axis}", f"off_{axis}"], f"far_{axis}", {}),
            ("Mul", [f"far_{axis}", "falloff"], f"power_{axis}", {}),
            ("Exp", [f"power_{axis}"], f"bell_{axis}", {}),
        ]
    nodes += [
        ("Greater", ["variance", "flat"], "busy", {}),
        ("Cast", ["busy"], "factor", {"to": TensorProto.FLOAT}),
        ("Mul", ["bell_y", "scores"], "scored", {}),
        ("Mul", ["scored", "factor"], "kept", {}),
        ("MatMul", ["kept", "bell_x"], "output_0", {}),
    ]
    size = np.array([48, 64])
    constants |= {
        "pace": np.array(9.0),
        "flat": np.array((FLAT / POSE_DEVIATION) ** 2),
        "falloff": np.array(-1 / (2 * 2.0**2)),  # the true heatmaps' Gaussians have a sigma of 2
        "scores": scores.reshape(1, 133, 1, 1),
        "grid_x": np.arange(48.0).reshape(1, 1, 1, 48),
        "grid_y": np.arange(64.0).reshape(1, 1, 64, 1),
    }
    for i, axis in enumerate("xy"):
        constants[f"place_{axis}"] = (places[:, i] * size[i]).reshape(1, 133, 1, 1)
        constants[f"sway_{axis}"] = (sway[:, i] * size[i]).reshape(1, 133, 1, 1)
    constants = {key: a if a.dtype == np.int64 else a.astype(np.float32) for key, a in constants.items()}
    source = ("input_0", TensorProto.FLOAT, ["batch", 3, 256, 192])
    return onnx_graph("tiny_vitpose", nodes, constants, source, ("output_0", TensorProto.FLOAT, ["batch", 133, 64, 48]))


def standing_pose() -> tuple[np.ndarray, np.ndarray]:
    """A person standing in ViTPose's crop: places and sway of the 133 points, each [133, 2], fractions of the crop."""
    nose, width = np.array([0.5, 0.185]), 0.062  # half the head's width; the crop is 3:4, so heights count 0.75
    head = np.array([[0, 0], [0.38, -0.024], [-0.38, -0.024], [0.9, -0.012], [-0.9, -0.012]]) * (width, 1) + nose
    # fmt: off
    left = np.array([[0.60, 0.28], [0.66, 0.41], [0.68, 0.53], [0.56, 0.53], [0.57, 0.70], [0.575, 0.87],
                     [0.60, 0.90], [0.62, 0.895], [0.565, 0.885]])  # shoulder, elbow, wrist, hip, knee, ankle, foot
    # fmt: on
    right = left * (-1, 1) + (1, 0)
    trunk = np.stack([left[:6], right[:6]], axis=1).reshape(12, 2)
    places = np.concatenate(
        [head, trunk, left[6:], right[6:], _face(nose, width), _hand(left[2], 1), _hand(right[2], -1)]
    )
    sway = np.zeros_like(places)
    sway[: 5 + 6] = sway[23:] = (0.012, 0)
    sway[[7, 9, *range(91, 112)]] += (0.02, -0.012)
    sway[[8, 10, *range(112, 133)]] += (0.02, 0.012)
    sway[[13, 14]] = (0.006, 0)
    return places, sway


def _face(nose: np.ndarray, width: float) -> np.ndarray:
    """68 points about the nose: jaw, brows, nose, eyes, mouth."""

    def arc(n: int, x: float, y: float, rx: float, ry: float, start: float, stop: float) -> np.ndarray:
        angles = np.linspace(start, stop, n) * np.pi
        return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)

    parts = [
        arc(17, 0, -0.1, 0.95, 1.1, 1.0, 0.0),
        arc(5, -0.42, -0.5, 0.28, 0.12, 1.0, 2.0),
        arc(5, 0.42, -0.5, 0.28, 0.12, 1.0, 2.0),
        np.stack([np.zeros(4), np.linspace(-0.35, 0.0, 4)], axis=1),
        arc(5, 0, 0.08, 0.18, 0.06, 1.0, 0.0),
        *(arc(6, x, -0.35, 0.17, 0.08, 1.0, 2.67) for x in (-0.4, 0.4)),
        arc(12, 0, 0.45, 0.34, 0.16, 1.0, 2.83),
        arc(8, 0, 0.45, 0.24, 0.07, 1.0, 2.75),
    ]
    return np.concatenate(parts) * (width, width * 0.75) + nose


def _hand(wrist: np.ndarray, side: int) -> np.ndarray:
    """21 points hanging from the wrist, thumb towards the body."""
    points = [np.zeros(2)]
    for finger in range(5):
        direction = np.array([(finger - 2) * 0.28 * side, 1.0])
        points += [direction * reach for reach in np.linspace(0.45, 1.0, 4) * (0.7 if finger == 0 else 1.0)]
    return np.array(points) * (0.055, 0.07) + wrist
