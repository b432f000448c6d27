"""What SAM2 is asked for on one image, from JSON text: boxes or points, in pixels. Pure."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import MotionError


@dataclass(frozen=True)
class Boxes:
    """One object a box: [[x1, y1, x2, y2], ...] in pixels; x2 and y2 are the box's right and lower edge."""

    boxes: list[list[float]]


@dataclass(frozen=True)
class Points:
    """One object from all points: [[x, y], ...] in pixels, and for each 1 (on the object) or 0 (not on it)."""

    points: list[list[float]]
    labels: list[int]


def parse_prompt(boxes: str, points: str, point_labels: str, width: int, height: int) -> Boxes | Points:
    """The prompt in three JSON texts, for an image of width x height pixels. An empty text or list is none.

    A box lies within the image, edges included (0 <= x1 < x2 <= width), a point on one of its pixels. Raises
    MotionError invalid_value, naming the box or point: text that is no such list, boxes outside the image or empty,
    points without labels or of another number, both kinds at once, or none.
    """
    box_rows, point_rows, labels = _rows("boxes", boxes, 4), _rows("points", points, 2), _labels(point_labels)
    if box_rows and (point_rows or labels):
        _refuse("There are both boxes and points.", "Send boxes, or points with point_labels, not both.")
    if box_rows:
        _each("box", box_rows, _box_fault, width, height)
        return Boxes([[float(value) for value in box] for box in box_rows])
    if not point_rows:
        what = "There are point_labels but no points." if labels else "There is no box and no point."
        _refuse(what, "Send boxes as [[x1, y1, x2, y2], ...], or points as [[x, y], ...] with point_labels.")
    if len(labels) != len(point_rows):
        _refuse(
            f"There are {len(point_rows)} points and {len(labels) or 'no'} point_labels.",
            "Send one label a point: 1 for a point on the object, 0 for one that is not.",
        )
    _each("point", point_rows, _point_fault, width, height)
    return Points([[float(value) for value in point] for point in point_rows], labels)


def _box_fault(box: Sequence[float], width: int, height: int) -> str:
    """What is wrong with a box, or nothing."""
    x1, y1, x2, y2 = box
    if x1 >= x2 or y1 >= y2:
        return "is empty: x2 must be greater than x1 and y2 greater than y1"
    if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
        return "reaches outside the image"
    return ""


def _point_fault(point: Sequence[float], width: int, height: int) -> str:
    """What is wrong with a point, or nothing."""
    x, y = point
    return "" if 0 <= x < width and 0 <= y < height else "lies outside the image"


def _each(kind: str, rows: list[Any], fault: Callable[[Any, int, int], str], width: int, height: int) -> None:
    """Refuses the first row that has a fault."""
    for number, row in enumerate(rows, 1):
        if what := fault(row, width, height):
            _refuse(
                f"{kind.capitalize()} {number} of {len(rows)}, {_shown(row)}, {what}; "
                f"the image is {width}x{height} pixels.",
                f"Give each {kind} in pixels of the image, (0, 0) being its upper left corner.",
            )


def _rows(name: str, text: str, length: int) -> list[Any]:
    """A JSON list of lists of `length` numbers; [] for an empty text."""
    wanted = "[[x1, y1, x2, y2], ...]" if length == 4 else "[[x, y], ...]"
    rows = _list(name, text, wanted)
    for row in rows:
        if not isinstance(row, list) or len(row) != length or not all(_is_number(value) for value in row):
            _refuse(f"In {name}, {_shown(row)} is not {length} numbers.", f"Write {name} as {wanted}.")
    return rows


def _labels(text: str) -> list[int]:
    labels = _list("point_labels", text, "[1, 0, ...]")
    for label in labels:
        if not _is_number(label) or label not in (0, 1):
            _refuse(f"In point_labels, {_shown(label)} is neither 1 nor 0.", "1 is on the object, 0 is not.")
    return [int(label) for label in labels]


def _list(name: str, text: str, wanted: str) -> list[Any]:
    hint = f"Write {name} as {wanted}."
    if not text.strip():
        return []
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        _refuse(f"{name} is no JSON: {reason}.", hint)
    if not isinstance(value, list):
        _refuse(f"{name} is {_shown(value)}, not a list.", hint)
    return value


def _no_number(name: str) -> NoReturn:
    """Python's reader takes NaN and Infinity, JSON has none."""
    raise ValueError(f"{name} is not a number")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _refuse(message: str, hint: str) -> NoReturn:
    raise MotionError("invalid_value", message, hint)
