"""Giving the driving skeleton the proportions of the person in the reference picture.

Method. Every kind of bone is measured in both poses, left and right together, as the 95th percentile over the frames
of the longer side: people are symmetric, and a bone pointing at the camera only ever looks too short. Lengths count
relative to the torso (neck to middle of the hips; the shoulders' width when hips are not seen in both). Then, frame by
frame, the skeleton is rebuilt outwards from the neck: each bone keeps its direction and is scaled by
(reference length / reference torso) / (driving length / driving torso). Torso and the person's size and place in the
frame stay the driving person's. Fingers are scaled about the wrist and move with it; eyes, ears and the 68 face points
are scaled about the nose by the head's size and move with it. Where ankles are seen in at least half of the frames,
the whole skeleton then moves up or down so that the lower ankle stays at its old height: feet keep the ground, and a
jump stays a jump. Otherwise neck and hips stay where they were.

A point that is not seen (score < 0.5) stays exactly where it was, as does a kind of bone that is not seen in both.
The authors' own retargeting measures the first frame only and edits the picture with an image model to see all limbs;
this one needs neither.
"""

import dataclasses
import logging

import numpy as np

from .keypoints import FACE, LEFT_HAND, NUM_POINTS, RIGHT_HAND, SEEN, Pose

log = logging.getLogger(__name__)

NECK, HIPS = NUM_POINTS, NUM_POINTS + 1  # made of both shoulders, of both hips
ANKLES = [15, 16]
LIMITS = (0.4, 2.5)  # a ratio outside is a misdetection, not a person

# (parent, child, kind), parents first
BONES: list[tuple[int, int, str]] = [
    *((NECK, i, "shoulder") for i in (5, 6)),
    *((i, i + 2, "upper arm") for i in (5, 6)),
    *((i, i + 2, "forearm") for i in (7, 8)),
    (NECK, HIPS, "torso"),
    *((HIPS, i, "hip") for i in (11, 12)),
    *((i, i + 2, "thigh") for i in (11, 12)),
    *((i, i + 2, "shin") for i in (13, 14)),
    *((15, i, "foot") for i in (17, 18, 19)),
    *((16, i, "foot") for i in (20, 21, 22)),
    (NECK, 0, "neck"),
    *((0, i, "head") for i in (*range(1, 5), *range(FACE.start, FACE.stop))),
    *((9, i, "hand") for i in range(LEFT_HAND.start, LEFT_HAND.stop)),
    *((10, i, "hand") for i in range(RIGHT_HAND.start, RIGHT_HAND.stop)),
]
# Which bones a kind is measured on, where not on all of them: ankle to big toe, wrist to the middle finger's root.
_MEASURED = {"foot": [(15, 17), (16, 20)], "hand": [(91, 100), (112, 121)]}
_UNITS = ("torso", "shoulder")


def _extended(pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Points float64 [F, 135, 2] and seen bool [F, 135], neck and hips added."""
    points, seen = pose.points.astype(np.float64), pose.scores >= SEEN
    middles = [points[:, pair].mean(axis=1, keepdims=True) for pair in ([5, 6], [11, 12])]
    both = [seen[:, pair].all(axis=1, keepdims=True) for pair in ([5, 6], [11, 12])]
    return np.concatenate([points, *middles], axis=1), np.concatenate([seen, *both], axis=1)


def bone_lengths(pose: Pose) -> dict[str, float]:
    """The length in pixels of every kind of bone that is seen somewhere (see the module's docstring)."""
    points, seen = _extended(pose)
    lengths = {}
    for kind in dict.fromkeys(kind for *_, kind in BONES):
        ends = _MEASURED.get(kind) or [(a, b) for a, b, k in BONES if k == kind]
        if kind == "head":  # the widest of nose, eyes and ears, whichever way the head is turned
            ends = [(a, b) for a in range(5) for b in range(a + 1, 5)]
        a, b = np.array(ends).T
        found = np.linalg.norm(points[:, a] - points[:, b], axis=-1) * (seen[:, a] & seen[:, b])
        per_frame = found.max(axis=1)
        if kind == "head":
            per_frame = per_frame * (seen[:, :5].sum(axis=1) >= 3)
        per_frame = per_frame[per_frame > 0]
        if len(per_frame):
            lengths[kind] = float(np.percentile(per_frame, 95))
    return lengths


def bone_ratios(driving: dict[str, float], reference: dict[str, float]) -> dict[str, float]:
    """By how much to scale each kind of bone of the driving person; 1 where it cannot be known. Pure."""
    unit = next((u for u in _UNITS if u in driving and u in reference), None)
    if unit is None:
        log.warning("Retargeting: torso and shoulders are not seen in both poses; proportions stay as they are.")
    ratios = {}
    for kind in dict.fromkeys(kind for *_, kind in BONES):
        ratios[kind] = 1.0
        if unit and kind not in (unit, "torso") and kind in driving and kind in reference:
            ratio = (reference[kind] / driving[kind]) * (driving[unit] / reference[unit])
            ratios[kind] = float(np.clip(ratio, *LIMITS))
    return ratios


def _ground_shift(old: np.ndarray, new: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """How far each frame moves down so that the lower seen ankle keeps its height: pixels, float64 [F]."""
    ankles = seen[:, ANKLES]
    frames = np.flatnonzero(ankles.any(axis=1))
    if len(frames) * 2 < len(old) or not len(frames):
        return np.zeros(len(old))
    lowest = [np.where(ankles, p[:, ANKLES, 1], -np.inf).max(axis=1)[frames] for p in (old, new)]
    return np.interp(np.arange(len(old)), frames, lowest[0] - lowest[1])


def retarget(pose: Pose, reference: Pose) -> Pose:
    """The driving `pose` with the proportions of `reference` (usually one frame, of any size). Scores are kept.

    The result lives on the driving video's frames (same width and height) and is marked as retargeted.
    """
    ratios = bone_ratios(bone_lengths(pose), bone_lengths(reference))
    points, seen = _extended(pose)
    moved = np.zeros_like(points)  # how far each point moves, before the ground is put back
    for parent, child, kind in BONES:
        stretch = (ratios[kind] - 1) * (points[:, child] - points[:, parent])
        joined = seen[:, parent] & seen[:, child]
        moved[:, child] = moved[:, parent] + stretch * joined[:, None]
    new = points + moved
    new[..., 1] += _ground_shift(points, new, seen)[:, None]
    result = pose.points.copy()
    drawn = seen[:, :NUM_POINTS]
    result[drawn] = new[:, :NUM_POINTS][drawn]
    return dataclasses.replace(pose, points=result.astype(np.float32), retargeted=True)
