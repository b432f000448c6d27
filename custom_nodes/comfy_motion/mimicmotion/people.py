"""The people of a video as DWPose sees them: what flows between the MimicMotion pose nodes."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

SEEN = 0.3
BODY = slice(0, 18)  # OpenPose's order: 0 nose, 1 neck, 2-4 right arm, 5-7 left arm, 8-13 legs, 14-17 eyes and ears
FACE = slice(24, 92)
LEFT_HAND = slice(92, 113)
RIGHT_HAND = slice(113, 134)
NUM_POINTS = 134
_NECK = 17
_SHOULDERS = [5, 6]
# Which of COCO-WholeBody's points, with the neck put in at 17, each of OpenPose's 18 body points is.
_BODY_ORDER = [0, 17, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]


@dataclass(frozen=True)
class FramePeople:
    """Everybody in one frame, the surest first: float64 points [n, 134, 2], fractions of the picture, scores [n, 134].

    Where nobody was found the whole picture counts as one person (fact 12) and `found` is False.
    """

    points: np.ndarray
    scores: np.ndarray
    found: bool = True

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class DWPoses:
    """One FramePeople a frame of a video of `width` x `height` pixels."""

    frames: list[FramePeople]
    width: int
    height: int
    fps: Fraction

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    @property
    def num_found(self) -> int:
        """How many frames somebody was really found in."""
        return sum(frame.found for frame in self.frames)


def arranged(points: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """COCO-WholeBody's 133 points [n, 133, 2] and scores [n, 133] as the 134 of fact 14, with a neck.

    The neck is the middle of the shoulders; its score is 1 if both are seen, else 0.
    """
    neck = points[:, _SHOULDERS].mean(axis=1, keepdims=True)
    neck_scores = (scores[:, _SHOULDERS] > SEEN).all(axis=1, keepdims=True)
    points = np.concatenate([points[:, :_NECK], neck, points[:, _NECK:]], axis=1)
    scores = np.concatenate([scores[:, :_NECK], neck_scores, scores[:, _NECK:]], axis=1)
    order = [*_BODY_ORDER, *range(BODY.stop, NUM_POINTS)]
    return points[:, order], scores[:, order]
