"""Finding people with YOLOv10 and choosing the one to follow.

Source of the rules: Wan2.2 Animate's published preprocessing. Everything here is a function of its arguments; the
model is run by detect.py.
"""

import cv2
import numpy as np

from ..errors import MotionError
from .models import DETECTOR_INPUT

CONFIDENCE = 0.05
NMS_IOU = 0.5
PERSON = 0  # COCO's class
LONG_SIDE = 0.4
TRACK_IOU = 0.1
_TO_UNIT = (np.arange(256) / 255.0).astype(np.float32)  # divided in float64, as the authors do


def detector_input(picture: np.ndarray) -> np.ndarray:
    """uint8 RGB [h, w, 3] to the detector's float32 [3, 640, 640]: stretched, RGB, 0..1."""
    height, width = DETECTOR_INPUT
    stretched = cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(_TO_UNIT[np.asarray(stretched, dtype=np.uint8)].transpose(2, 0, 1))


def people_in(output: np.ndarray, width: int, height: int) -> np.ndarray:
    """The people of one picture from the detector's [300, 6] rows of x1, y1, x2, y2, score, class.

    Boxes come back as float64 [n, 5] (x1, y1, x2, y2, score) in whole pixels of the picture, best score first.
    Suppression runs over all classes together, so a better box of another class deletes a person under it.
    """
    rows = output[output[:, 4] >= CONFIDENCE]
    if not len(rows):
        return np.zeros((0, 5))
    factors = np.array([width / DETECTOR_INPUT[1], height / DETECTOR_INPUT[0]] * 2)
    corners = (rows[:, :4] * factors).astype(np.float32)
    corners[:, 2:] -= corners[:, :2]
    boxes = corners.astype(np.int32)  # left, top, width, height, each truncated
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), rows[:, 4].tolist(), CONFIDENCE, NMS_IOU)
    people = [
        [boxes[i][0], boxes[i][1], boxes[i][0] + boxes[i][2], boxes[i][1] + boxes[i][3], rows[i, 4]]
        for i in np.asarray(kept).reshape(-1)
        if rows[i, 5] == PERSON and rows[i, 4] > CONFIDENCE
    ]
    return np.array(people, dtype=np.float64).reshape(-1, 5)


def largest_person(people: np.ndarray) -> int:
    """The index of the largest box of [n, 5], or -1 when there is none.

    A box whose long side is under 0.4 of the longest seen is passed over; "the longest seen" is that of all people
    at first, and that of the person chosen last afterwards.
    """
    sides = people[:, 2:4] - people[:, :2]
    longest = sides.max() if len(people) else 0.0
    chosen, area = -1, -np.inf
    for i, (w, h) in enumerate(sides):
        if w * h > area and max(w, h) >= longest * LONG_SIDE:
            chosen, area, longest = i, w * h, max(w, h)
    return chosen


def choose_boxes(
    people: list[np.ndarray], width: int, height: int, point: tuple[float, float] | None = None
) -> np.ndarray:
    """The box to follow in every frame, float32 [F, 5]; `people` holds each frame's [n, 5].

    Without `point`: the largest person of each frame; a frame with nobody gets the whole picture, score -1.
    With `point` (fractions of the picture): the person under it in the first frame that has one there, followed
    from frame to frame, forwards and backwards, by overlap; while lost, the box stays where it was last seen.
    Raises MotionError no_person when nobody is found in any frame, or nobody under the point.
    """
    if not any(len(found) for found in people):
        raise MotionError(
            "no_person",
            f"nobody was found in any of the {len(people)} frames",
            "use a picture or video in which a person can be seen, large enough and not cut off",
        )
    if point is not None:
        return _follow(people, width, height, point)
    boxes = np.tile(np.array([0, 0, width, height, -1], dtype=np.float32), (len(people), 1))
    for i, found in enumerate(people):
        if (chosen := largest_person(found)) >= 0:
            boxes[i] = found[chosen]
    return boxes


def _under(found: np.ndarray, x: float, y: float) -> int:
    """The surest of the people [n, 5] whose box holds the point, or -1."""
    holds = (found[:, 0] <= x) & (x < found[:, 2]) & (found[:, 1] <= y) & (y < found[:, 3])
    return int(holds.argmax()) if holds.any() else -1  # rows are sorted by score


def _follow(people: list[np.ndarray], width: int, height: int, point: tuple[float, float]) -> np.ndarray:
    chosen = [_under(found, point[0] * width, point[1] * height) for found in people]
    first = next((i for i, index in enumerate(chosen) if index >= 0), None)
    if first is None:
        raise MotionError(
            "no_person",
            f"nobody was found at the point {point[0]:g}, {point[1]:g} (fractions of the picture) in any frame",
            "give a point on the person, or none to follow the largest person",
        )
    boxes = np.zeros((len(people), 5), dtype=np.float32)
    for order in (range(first, len(people)), range(first, -1, -1)):
        last = people[first][chosen[first]]
        for i in order:
            overlaps = _overlap(last, people[i])
            if len(overlaps) and overlaps.max() >= TRACK_IOU:
                last = people[i][overlaps.argmax()]
            boxes[i] = last
    return boxes


def _overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box [5] with each of [n, 5], float64 [n]."""
    sides = np.minimum(box[2:4], others[:, 2:4]) - np.maximum(box[:2], others[:, :2])
    common = np.clip(sides, 0, None).prod(axis=1)
    union = np.prod(box[2:4] - box[:2]) + np.prod(others[:, 2:4] - others[:, :2], axis=1) - common
    return common / np.maximum(union, 1e-9)
