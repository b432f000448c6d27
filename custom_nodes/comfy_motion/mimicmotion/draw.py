"""The pose video in the drawing style MimicMotion was trained on, by fact 15, pixel for pixel.

Brightness is the detector's score, on a canvas whose short side is 2160 that is then shrunk. Coordinates are
truncated, never rounded. Colours are written the way they go onto the canvas; red and blue change places at the end.
"""

import colorsys
import math
from fractions import Fraction

import cv2
import numpy as np
import torch

from ..video.frames import Frames
from .people import BODY, FACE, LEFT_HAND, RIGHT_HAND, SEEN, DWPoses, FramePeople

SHORT_SIDE = 2160
# fmt: off
STICKS = [(1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
          (1, 0), (0, 14), (14, 16), (0, 15), (15, 17)]
COLOURS = [(255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0),
           (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255),
           (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)]
# fmt: on
STICK_WIDTH = 4  # half of it, and the radius of joints and hand points
FACE_RADIUS = 3
DIMMED = 0.6
BONES = [(0 if joint == 0 else first + joint - 1, first + joint) for first in (1, 5, 9, 13, 17) for joint in range(4)]
BONE_COLOURS = [colorsys.hsv_to_rgb(i / 20, 1.0, 1.0) for i in range(20)]
FAR = 1e6  # canvas pixels; a point further out is a fit gone wrong, and OpenCV's integers overflow beyond


def canvas_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the canvas that a picture of that size is drawn on."""
    scale = SHORT_SIDE / min(width, height)
    return int(width * scale), int(height * scale)


def _weighted(colour: tuple[int, ...], weight: float) -> list[int]:
    return [int(c * weight) for c in colour]


def _dimmed(colour: list[int]) -> list[int]:
    """What the canvas holds of a colour after the whole of it was multiplied by 0.6: dimming each stick is cheaper."""
    return [int(min(max(c, 0), 255) * DIMMED) for c in colour]


def _near(points: np.ndarray) -> np.ndarray:
    return np.all(np.abs(points) < FAR, axis=-1)


def draw_bodies(canvas: np.ndarray, points: np.ndarray, scores: np.ndarray) -> None:
    """Sticks, then joints, of all people (points [n, 18, 2] in canvas pixels, scores [n, 18]) on uint8 [h, w, 3]."""
    near = _near(points)
    people = [list(zip(*person, strict=True)) for person in zip(points.tolist(), scores.tolist(), near, strict=True)]
    for (a, b), colour in zip(STICKS, COLOURS, strict=False):
        for person in people:
            ((ax, ay), a_score, a_near), ((bx, by), b_score, b_near) = person[a], person[b]
            if a_score < SEEN or b_score < SEEN or not (a_near and b_near):
                continue
            length = ((ay - by) ** 2 + (ax - bx) ** 2) ** 0.5
            angle = math.degrees(math.atan2(ay - by, ax - bx))
            middle = (int((ax + bx) / 2), int((ay + by) / 2))
            outline = cv2.ellipse2Poly(middle, (int(length / 2), STICK_WIDTH), int(angle), 0, 360, 1)
            cv2.fillConvexPoly(canvas, np.asarray(outline), _dimmed(_weighted(colour, a_score * b_score)))
    for joint, colour in enumerate(COLOURS):
        for person in people:
            (x, y), score, close = person[joint]
            if score > SEEN and close:
                cv2.circle(canvas, (int(x), int(y)), STICK_WIDTH, _weighted(colour, score), thickness=-1)


def _places(points: np.ndarray) -> list[tuple[int, int] | None]:
    """Truncated places; None where nothing is drawn: left of, above or on the first pixel's row or column."""
    drawn = _near(points) & (points >= 1).all(axis=-1)
    return [(int(x), int(y)) if seen else None for (x, y), seen in zip(points.tolist(), drawn, strict=True)]


def draw_hand(canvas: np.ndarray, points: np.ndarray, scores: np.ndarray) -> None:
    """One hand (points [21, 2] in canvas pixels, scores [21]): bones, then points."""
    places = _places(points)
    for (a, b), colour in zip(BONES, BONE_COLOURS, strict=True):
        start, end = places[a], places[b]
        if start and end:
            brightness = int(scores[a] * scores[b] * 255)
            cv2.line(canvas, start, end, [c * brightness for c in colour], thickness=2)
    for place, score in zip(places, scores.tolist(), strict=True):
        if place:
            cv2.circle(canvas, place, STICK_WIDTH, (0, 0, int(score * 255)), thickness=-1)


def draw_face(canvas: np.ndarray, points: np.ndarray, scores: np.ndarray) -> None:
    """One face's points (points [68, 2] in canvas pixels, scores [68]), grey."""
    for place, score in zip(_places(points), scores.tolist(), strict=True):
        if place:
            cv2.circle(canvas, place, FACE_RADIUS, [int(score * 255)] * 3, thickness=-1)


def draw_people(canvas: np.ndarray, people: FramePeople) -> None:
    """Everybody of a frame on a black canvas uint8 [h, w, 3]: bodies, left hands, right hands, faces."""
    points, scores = people.points * (canvas.shape[1], canvas.shape[0]), people.scores
    draw_bodies(canvas, points[:, BODY], scores[:, BODY])
    for part, draw in ((LEFT_HAND, draw_hand), (RIGHT_HAND, draw_hand), (FACE, draw_face)):
        for own_points, own_scores in zip(points[:, part], scores[:, part], strict=True):
            draw(canvas, own_points, own_scores)


class DWPoseFrames(Frames):
    """Poses as a video of drawn people on black, drawn when it is read."""

    def __init__(self, poses: DWPoses, width: int, height: int):
        """width, height: of the pictures, in pixels; the poses' fractions are stretched to them."""
        self.poses, self.width, self.height = poses, width, height
        self.num_frames, self.fps = poses.num_frames, Fraction(poses.fps)

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.check_range(start, stop)
        out = np.empty((stop - start, self.height, self.width, 3), dtype=np.uint8)
        width, height = canvas_size(self.width, self.height)
        canvas = np.empty((height, width, 3), dtype=np.uint8)
        for picture, people in zip(out, self.poses.frames[start:stop], strict=True):
            canvas.fill(0)
            draw_people(canvas, people)
            small = cv2.resize(canvas, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
            picture[:] = small[..., ::-1]
        return torch.from_numpy(out)
