"""Who can be seen in the picture, and whether that is enough for the voices: asked before any large model loads."""

import numpy as np
import torch

from ..errors import MotionError
from ..pose.detect import find_people
from ..pose.models import PoseModels
from ..video.frames import TensorFrames

# The pose path takes any box from 0.05 on, because it follows the largest only. For counting, that would make two
# people of one and a coat; 0.25 is the confidence from which YOLO's own predictor reports a box.
SURE = 0.25
LEFT, RIGHT = "left", "right"


def people_in_picture(picture: torch.Tensor, models: PoseModels) -> np.ndarray:
    """The people of a picture, uint8 [h, w, 3]: float64 [n, 4], x1, y1, x2, y2 in its pixels, surest first.

    Raises MotionError model_file when the detector's file is of another kind.
    """
    return counted(find_people(TensorFrames(picture[None]), models, lambda done: None)[0])


def counted(found: np.ndarray) -> np.ndarray:
    """Which of pose.people's rows, [n, 5] with the surest first, count as people: [m, 4].

    Those the detector is sure of; if it is sure of none, the best guess, since a drawn or veiled person is seen badly.
    """
    sure = found[found[:, 4] >= SURE]
    return (sure if len(sure) else found[:1])[:, :4]


def require_somebody(people: np.ndarray, width: int, height: int) -> None:
    """Raises MotionError no_person when `people`, [n, 4], is empty; width and height are the picture's."""
    if not len(people):
        raise MotionError(
            "no_person",
            f"Nobody was found in the picture ({width}x{height} pixels).",
            "Send a picture of one or two people whose faces can be seen, upright and not too small.",
        )


def require_one_a_half(people: np.ndarray, width: int, height: int) -> None:
    """For two voices without masks: a person's centre in the left half of the picture, and one in the right half.

    people: [n, 4], not empty. Raises MotionError one_person, which says where those found are.
    """
    where = f"the picture ({width}x{height} pixels)"
    if len(people) == 1:
        raise MotionError(
            "one_person",
            f"There are two voices, and one person was found in {where}: {_shown(people)}.",
            "Send one voice, or a picture of two people. If there is a second person who was not found, say in "
            "`speakers` where each voice's person is.",
        )
    right = people[:, [0, 2]].mean(axis=1) >= width // 2
    if right.all() or not right.any():
        crowded, empty = (RIGHT, LEFT) if right.all() else (LEFT, RIGHT)
        raise MotionError(
            "one_person",
            f"Without `speakers`, the first voice is the left half's and the second the right half's, but all "
            f"{len(people)} people found in {where} have their middle in the {crowded} half, none in the {empty}: "
            f"{_shown(people)}.",
            "Say in `speakers` where each voice's person is, first voice first.",
        )


def _shown(people: np.ndarray, most: int = 4) -> str:
    boxes = ", ".join(str([int(value) for value in box]) for box in people[:most])
    more = f" and {len(people) - most} more" if len(people) > most else ""
    return f"{boxes}{more} (x1, y1, x2, y2)"
