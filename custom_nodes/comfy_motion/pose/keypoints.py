"""Whole-body points of one person over a video, and the body of 20 the model is drawn with.

Points follow COCO-WholeBody: 0-16 body, 17-22 feet, 23-90 face, 91-111 left hand, 112-132 right hand.
Source of the rules: Wan2.2 Animate's published preprocessing.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

NUM_POINTS = 133
FACE = slice(23, 91)
LEFT_HAND = slice(91, 112)
RIGHT_HAND = slice(112, 133)
SEEN = 0.5  # a point is drawn, and counts as seen, from this score on

# The body of 20: nose, neck, right then left arm, right then left leg, eyes, ears, left and right toe.
# Each is the mean of two whole-body points, which are the same one except for the neck and the toes.
_BODY_FIRST = [0, 6, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, 17, 20]
_BODY_SECOND = [0, 5, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, 18, 21]


@dataclass(frozen=True)
class Pose:
    """One person's points in every frame.

    points float32 [F, 133, 2]: x, y in pixels of the frames they were found on; may lie outside the picture.
    scores float32 [F, 133]: the height of the heatmap, 0 to about 1.
    boxes float32 [F, 5]: x1, y1, x2, y2, score in the same pixels; score -1 = nobody found, the whole picture.
    retargeted: the proportions are no longer those of the frames (see draw.py for what that changes).
    Raises ValueError when the shapes do not fit together.
    """

    points: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    width: int
    height: int
    fps: Fraction
    retargeted: bool = False

    def __post_init__(self):
        n = len(self.points)
        shapes = (self.points.shape, self.scores.shape, self.boxes.shape)
        if shapes != ((n, NUM_POINTS, 2), (n, NUM_POINTS), (n, 5)):
            raise ValueError(f"points, scores and boxes must be [F,133,2], [F,133] and [F,5], not {shapes}")

    @property
    def num_frames(self) -> int:
        return len(self.points)


def normalized(pose: Pose) -> np.ndarray:
    """Points as fractions of the picture, float32 [F, 133, 2].

    The authors keep points this way, in float32, and multiply by the size in float64 before truncating:
    going the same way round is what makes drawings agree to the pixel.
    """
    return pose.points.astype(np.float32) / np.array([pose.width, pose.height], dtype=np.float32)


def in_pixels(fractions: np.ndarray, width: int, height: int) -> np.ndarray:
    """Fractions float32 [..., 2] to pixels of a picture of that size, float64 [..., 2]."""
    return fractions.astype(np.float64) * (width, height)


def body_fractions(pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """The body of 20 as fractions of the picture: points float32 [F, 20, 2], scores float32 [F, 20].

    Scores are means too. A body with a negative coordinate in every one of its points is off the picture to
    the left or top: the authors repeat the body of the frame before, scores included (in the first frame, where
    theirs fails, it stays as it is).
    """
    points = normalized(pose)
    points = (points[:, _BODY_FIRST] + points[:, _BODY_SECOND]) / 2
    scores = pose.scores.astype(np.float32)
    scores = (scores[:, _BODY_FIRST] + scores[:, _BODY_SECOND]) / 2
    lost = points.min(axis=2).max(axis=1, initial=-np.inf) < 0
    lost[:1] = False
    source = np.maximum.accumulate(np.where(lost, 0, np.arange(len(points))))
    return points[source], scores[source]


def body(pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """The body of 20 in pixels of the pose's own frames: points float64 [F, 20, 2], scores float32 [F, 20]."""
    points, scores = body_fractions(pose)
    return in_pixels(points, pose.width, pose.height), scores
