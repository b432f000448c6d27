"""A slow second drawing, written plainly from fact 15, and the golden pictures made with it.

`python -m tests.nodes.dwpose_drawing` writes them anew. They were compared with what the published pipeline's own
drawing makes of the same points: no pixel differed (OpenCV 4.14).
"""

import colorsys
import math
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from custom_nodes.comfy_motion.mimicmotion.people import DWPoses, FramePeople

GOLDEN = Path(__file__).parent / "golden"
# Name: width, height, people, seed.
GOLDENS = {
    "dwpose_upright": (144, 256, 1, 1),
    "dwpose_two": (256, 144, 2, 2),
    "dwpose_odd_size": (113, 97, 1, 3),
}
TABLE = "2-3 2-6 3-4 4-5 6-7 7-8 2-9 9-10 10-11 2-12 12-13 13-14 2-1 1-15 15-17 1-16 16-18 3-17 6-18"  # counted from 1
COLOURS = (
    "255,0,0 255,85,0 255,170,0 255,255,0 170,255,0 85,255,0 0,255,0 0,255,85 0,255,170 0,255,255 0,170,255 0,85,255 "
    "0,0,255 85,0,255 170,0,255 255,0,255 255,0,170 255,0,85"
)


def random_people(seed: int, people: int) -> FramePeople:
    """A body over most of the picture, hands and face small; some points outside it, scores about the thresholds."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.05, 1.05, (people, 134, 2))
    for part in (slice(24, 92), slice(92, 113), slice(113, 134)):
        middle = rng.uniform(0.05, 0.95, (people, 1, 2))
        points[:, part] = middle + (points[:, part] - 0.5) * 0.25
    points[:, 95:97, 0] = points[:, 97:99, 1] = 0.4 / 3840  # on the first column and row, whatever the canvas
    # As float32 scores arrive: the detector's are, and they are compared in float64.
    scores = rng.choice(np.float32([-0.1, 0, 0.2, 0.29, 0.31, 0.5, 0.83, 0.9, 1, 1.07]), (people, 134))
    return FramePeople(points, scores.astype(np.float64))


def poses_of(frames: list[FramePeople], width: int, height: int) -> DWPoses:
    return DWPoses(frames, width, height, Fraction(15))


def plain_drawing(people: FramePeople, width: int, height: int, wrong: str = "") -> np.ndarray:
    """uint8 RGB [height, width, 3] by the rules one after the other; `wrong` breaks one of them."""
    whole = (lambda v: round(float(v))) if wrong == "rounded" else (lambda v: int(v))
    sticks, colours = TABLE.split(), [[int(c) for c in colour.split(",")] for colour in COLOURS.split()]
    scale = 2160 / (max if wrong == "long side" else min)(width, height)
    w, h = int(width * scale), int(height * scale)
    canvas = np.zeros((h, w, 3), dtype=np.uint8)
    everybody = list(zip(people.points.tolist(), people.scores.tolist(), strict=True))

    for i, stick in enumerate(sticks if wrong == "19 sticks" else sticks[:17]):
        a, b = (int(number) - 1 for number in stick.split("-"))
        for points, scores in everybody:
            if min(scores[a], scores[b]) < (0.5 if wrong == "threshold" else 0.3):
                continue
            (ax, ay), (bx, by) = [(x * w, y * h) for x, y in (points[a], points[b])]
            half = whole(math.hypot(ax - bx, ay - by) / 2)
            degrees = whole(math.degrees(math.atan2(ay - by, ax - bx)))
            middle = (whole((ax + bx) / 2), whole((ay + by) / 2))
            width_4 = 5 if wrong == "stick" else 4
            weight = min(scores[a], scores[b]) if wrong == "smaller score" else scores[a] * scores[b]
            outline = cv2.ellipse2Poly(middle, (half, width_4), degrees, 0, 360, 1)
            cv2.fillConvexPoly(canvas, outline, [int(c * weight) for c in colours[i % 18]])
    if wrong != "not dimmed":
        canvas = np.floor(canvas * 0.6).astype(np.uint8)
    for i, colour in enumerate(colours):
        for points, scores in everybody:
            if scores[i] > 0.3:
                place = (whole(points[i][0] * w), whole(points[i][1] * h))
                cv2.circle(canvas, place, 4, [int(c * scores[i]) for c in colour], thickness=-1)
    if wrong == "dimmed late":
        canvas = np.floor(canvas * 0.6).astype(np.uint8)

    hands = [(p[first : first + 21], s[first : first + 21]) for first in (92, 113) for p, s in everybody]
    if wrong == "person by person":
        hands = [(p[first : first + 21], s[first : first + 21]) for p, s in everybody for first in (92, 113)]
    faces = [(p[24:92], s[24:92]) for p, s in everybody]
    parts = [(hands, plain_hand), (faces, plain_face)]
    for group, draw in reversed(parts) if wrong == "faces first" else parts:
        for points, scores in group:
            draw(canvas, [(whole(x * w), whole(y * h)) for x, y in points], scores, wrong)
    how = cv2.INTER_AREA if wrong == "antialiased" else cv2.INTER_LINEAR
    small = cv2.resize(canvas, (width, height), interpolation=how)
    return small if wrong == "not swapped" else small[..., [2, 1, 0]]


def plain_hand(canvas: np.ndarray, places: list, scores: list, wrong: str) -> None:
    least = 0 if wrong == "edge" else 1
    chains = [[0, *range(first, first + 4)] for first in (1, 5, 9, 13, 17)]
    edges = [edge for chain in chains for edge in pairwise(chain)]
    for i, (a, b) in enumerate(edges):
        if min(*places[a], *places[b]) >= least:
            score = int(scores[a] * scores[b] * 255) if wrong != "full hands" else 255
            hue = colorsys.hsv_to_rgb(i / (21 if wrong == "hue" else 20), 1, 1)
            cv2.line(canvas, places[a], places[b], [c * score for c in hue], thickness=2)
    for place, score in zip(places, scores, strict=True):
        if min(place) >= least and not (wrong == "black left out" and score <= 0):
            cv2.circle(canvas, place, 4, (0, 0, int(score * 255)), thickness=-1)


def plain_face(canvas: np.ndarray, places: list, scores: list, wrong: str) -> None:
    for place, score in zip(places, scores, strict=True):
        if min(place) >= 1 and not (wrong == "black left out" and score <= 0):
            cv2.circle(canvas, place, 4 if wrong == "face disc" else 3, [int(score * 255)] * 3, thickness=-1)


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name, (width, height, people, seed) in GOLDENS.items():
        picture = plain_drawing(random_people(seed, people), width, height)
        cv2.imwrite(str(GOLDEN / f"{name}.png"), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
