"""Finding people with YOLOX, by fact 12 of MimicMotion's published pipeline.

Functions of their arguments; the model is run by detect.py. How YOLOX's rows are decoded is its authors' published
rule ("YOLOX: Exceeding YOLO Series in 2021"): centre plus grid cell, exponential of the size, both times the stride.
"""

import cv2
import numpy as np

from .models import DETECTOR_INPUT

STRIDES = (8, 16, 32)
GREY = 114
OVERLAP = 0.45
SEEN = 0.3
PERSON = 0  # COCO's class


def detector_input(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """uint8 RGB [h, w, 3] letterboxed top left: float32 [3, 640, 640] of 0..255, and the scale that was used."""
    height, width = picture.shape[:2]
    scale = min(DETECTOR_INPUT[0] / height, DETECTOR_INPUT[1] / width)
    size = max(int(width * scale), 1), max(int(height * scale), 1)
    boxed = np.full((*DETECTOR_INPUT, 3), GREY, dtype=np.uint8)
    boxed[: size[1], : size[0]] = cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(boxed.transpose(2, 0, 1), dtype=np.float32), scale


def _cells() -> tuple[np.ndarray, np.ndarray]:
    """Column and row [8400, 2] and stride [8400, 1] of each of YOLOX's rows."""
    places, strides = [], []
    for stride in STRIDES:
        rows, columns = np.indices([side // stride for side in DETECTOR_INPUT])
        places.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(places), np.concatenate(strides)


_PLACES, _STRIDES = _cells()


def decode(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """YOLOX's float32 [8400, 85] as boxes x1, y1, x2, y2 [8400, 4] in letterboxed pixels and scores [8400, 80]."""
    centres = ((rows[:, :2] + _PLACES) * _STRIDES).astype(np.float32)
    halves = (np.exp(rows[:, 2:4]) * _STRIDES).astype(np.float32) / 2
    return np.concatenate([centres - halves, centres + halves], axis=1), rows[:, 4:5] * rows[:, 5:]


def people_in(rows: np.ndarray, scale: float) -> np.ndarray:
    """The people of one picture: float64 [n, 4] x1, y1, x2, y2 in the picture's pixels, best score first.

    The published rule keeps each class's scores above 0.1, suppresses within a class, then takes people above 0.3.
    A worse box never deletes a better one, so only people above 0.3 need to be looked at.
    """
    boxes, scores = decode(rows)
    scores = scores[:, PERSON]
    sure = scores.astype(np.float64) > SEEN
    boxes, scores = boxes[sure] / np.float32(scale), scores[sure]
    return boxes[suppressed(boxes, scores)].astype(np.float64)


def suppressed(boxes: np.ndarray, scores: np.ndarray) -> list[int]:
    """Indices of the boxes [n, 4] that stay, best first: no two overlap by more than 0.45, pixels counted inclusive."""
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    waiting = np.argsort(scores, kind="stable")[::-1]
    kept = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[waiting, :2])
        high = np.minimum(boxes[best, 2:], boxes[waiting, 2:])
        common = np.maximum(high - low + 1, 0).prod(axis=1)
        waiting = waiting[common / (areas[best] + areas[waiting] - common) <= OVERLAP]
    return kept
