"""The pose video: the skeleton in the drawing style Wan2.2 Animate was trained on (AAPose), pixel for pixel.

Source of the rules: Wan2.2 Animate's published preprocessing. 19 limbs at 0.6 of their colour, 20 joints, then both
hands; no face points. All coordinates are truncated, never rounded.
"""

import colorsys
import math
from fractions import Fraction

import cv2
import numpy as np
import torch

from ..video.frames import Frames
from .keypoints import LEFT_HAND, RIGHT_HAND, SEEN, Pose, body_fractions, in_pixels, normalized

# fmt: off
LIMBS = [(1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
         (1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (13, 18), (10, 19)]
COLOURS = [(255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0),
           (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255),
           (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85), (200, 200, 0), (100, 100, 0)]
# fmt: on
LIMB_COLOURS = [tuple(int(c * 0.6) for c in colour) for colour in COLOURS]
FINGERS = [
    (0 if joint == 1 else first + joint - 2, first + joint - 1) for first in range(1, 21, 4) for joint in range(1, 5)
]
FINGER_COLOURS = [tuple(c * 255 for c in colorsys.hsv_to_rgb(i / 20, 1.0, 1.0)) for i in range(20)]
HAND_POINT = (0, 0, 255)
FAR = 1e6  # a point further out than this is a decoding accident; OpenCV's integers overflow beyond


def stick_widths(width: int, height: int) -> tuple[int, int]:
    """Half the width of a body limb, and the thickness of a finger, in pixels, for a picture of that size."""
    stick = max(min(width, height) // 200 - 1, 1)
    return stick, max(stick // 2, 1)


def _countable(points: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return (scores >= SEEN) & (np.abs(points) < FAR).all(axis=-1)


def draw_body(canvas: np.ndarray, points: np.ndarray, scores: np.ndarray, stick: int) -> None:
    """Limbs, then joints, of the body of 20 (points [20, 2] in pixels, scores [20]) on uint8 RGB [h, w, 3]."""
    drawn = _countable(points, scores)
    for (a, b), colour in zip(LIMBS, LIMB_COLOURS, strict=False):
        if not (drawn[a] and drawn[b]):
            continue
        (ax, ay), (bx, by) = points[a].tolist(), points[b].tolist()
        length = ((ay - by) ** 2 + (ax - bx) ** 2) ** 0.5
        angle = math.degrees(math.atan2(ay - by, ax - bx))
        middle = (int((ax + bx) / 2), int((ay + by) / 2))
        outline = cv2.ellipse2Poly(middle, (int(length / 2), stick), int(angle), 0, 360, 1)
        cv2.fillConvexPoly(canvas, np.asarray(outline), colour)
    for (x, y), seen, colour in zip(points.tolist(), drawn, COLOURS, strict=True):
        if seen:
            cv2.circle(canvas, (int(x), int(y)), stick, colour, thickness=-1)


def draw_hand(canvas: np.ndarray, points: np.ndarray, scores: np.ndarray, thickness: int) -> None:
    """One hand (points [21, 2] in pixels, scores [21]): finger bones, then points; none at x or y <= 0."""
    places = [
        (int(x), int(y)) if seen else (0, 0) for (x, y), seen in zip(points, _countable(points, scores), strict=True)
    ]
    drawn = [x > 0 and y > 0 for x, y in places]
    for (a, b), colour in zip(FINGERS, FINGER_COLOURS, strict=True):
        if drawn[a] and drawn[b]:
            cv2.line(canvas, places[a], places[b], colour, thickness=thickness)
    for place, seen in zip(places, drawn, strict=True):
        if seen:
            cv2.circle(canvas, place, thickness, HAND_POINT, thickness=-1)


def fitted(from_width: int, from_height: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Where a picture lands when letterboxed: left, top, width, height in whole pixels, by the authors' rule."""
    if from_height / from_width > height / width:
        inner = max(int(height / from_height * from_width), 1)
        return int((width - inner) / 2), 0, inner, height
    inner = max(int(width / from_width * from_height), 1)
    return 0, int((height - inner) / 2), width, inner


class PoseFrames(Frames):
    """A pose as a video of drawn skeletons on black, drawn when it is read.

    At the pose's own size it is drawn as it is. At another size the authors' two cases differ: a pose as it was
    found is drawn at its own size and the drawing letterboxed (bilinear); a retargeted one has its points moved
    into the letterbox and is drawn at the size asked for, with the line widths of that size.
    """

    def __init__(self, pose: Pose, width: int, height: int):
        self.width, self.height = width, height
        self.num_frames, self.fps = pose.num_frames, Fraction(pose.fps)
        own = (pose.width, pose.height)
        self._inner = fitted(*own, width, height)
        self._letterbox = (width, height) != own and not pose.retargeted
        self._canvas_size = own if self._letterbox else (width, height)
        self._body, self._body_scores = body_fractions(pose)
        self._points, self._scores = normalized(pose), pose.scores

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.check_range(start, stop)
        out = np.zeros((stop - start, self.height, self.width, 3), dtype=np.uint8)
        for i, picture in enumerate(out, start):
            if self._letterbox:
                left, top, w, h = self._inner
                canvas = np.zeros((self._canvas_size[1], self._canvas_size[0], 3), dtype=np.uint8)
                self._draw(canvas, i)
                picture[top : top + h, left : left + w] = cv2.resize(canvas, (w, h), interpolation=cv2.INTER_LINEAR)
            else:
                self._draw(picture, i)
        return torch.from_numpy(out)

    def _draw(self, canvas: np.ndarray, i: int) -> None:
        stick, thickness = stick_widths(*self._canvas_size)
        draw_body(canvas, self._place(self._body[i]), self._body_scores[i], stick)
        for hand in (LEFT_HAND, RIGHT_HAND):
            draw_hand(canvas, self._place(self._points[i, hand]), self._scores[i, hand], thickness)

    def _place(self, fractions: np.ndarray) -> np.ndarray:
        if self._letterbox:
            return in_pixels(fractions, *self._canvas_size)
        left, top, w, h = self._inner
        return in_pixels(fractions, w, h) + np.array([left, top])
