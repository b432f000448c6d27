"""From frames to DWPoses: find people, find their points, a few frames at a time; only points are kept."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from ..errors import MotionError
from ..video.frames import Frames
from . import detector, simcc
from .models import DWPoseModels
from .people import DWPoses, FramePeople, arranged

CHUNK = 8  # frames read and looked at together
BATCH = 16  # people at once in the pose model; a frame may show a crowd


def find_people(pictures: np.ndarray, models: DWPoseModels) -> list[np.ndarray]:
    """Boxes float64 [n, 4] of everybody in each of the uint8 pictures [f, h, w, 3]; n is 0 where nobody is."""
    inputs, scales = zip(*(detector.detector_input(picture) for picture in pictures), strict=True)
    rows = models.detector.run(np.stack(inputs))
    return [detector.people_in(found, scale) for found, scale in zip(rows, scales, strict=True)]


def find_points(pictures: np.ndarray, boxes: list[np.ndarray], models: DWPoseModels) -> tuple[np.ndarray, np.ndarray]:
    """Points float64 [n, 133, 2] in pixels and scores [n, 133] of all people, frame by frame.

    boxes: one [m, 4] for each of the pictures [f, h, w, 3].
    """
    wanted = [(i, simcc.region_of(box)) for i, found in enumerate(boxes) for box in found]
    results = []
    for start in range(0, len(wanted), BATCH):
        part = wanted[start : start + BATCH]
        bins = models.pose.run_all(np.stack([simcc.pose_input(pictures[i], region) for i, region in part]))
        results.append(simcc.decode(bins[0], bins[1], [region for _, region in part]))
    points, scores = zip(*results, strict=True)
    return np.concatenate(points), np.concatenate(scores)


def detect(
    frames: Frames, models: DWPoseModels, progress: Callable[[int, int], None] = lambda done, total: None
) -> DWPoses:
    """Everybody in every frame. `progress(frames done, frames)` may raise to stop the work.

    A frame in which nobody is found counts as one person the size of the picture (fact 12).
    Raises MotionError no_person if nobody is found in any frame, model_file for an ONNX file of another kind.
    """
    people: list[FramePeople] = []
    whole = np.array([[0.0, 0.0, frames.width, frames.height]])
    size = np.array([frames.width, frames.height], dtype=np.float64)
    for chunk in frames.chunks(CHUNK):
        pictures = chunk.numpy()
        found = find_people(pictures, models)
        boxes = [box if len(box) else whole for box in found]
        points, scores = arranged(*find_points(pictures, boxes, models))
        ends = np.cumsum([len(box) for box in boxes])
        for seen, box, end in zip(found, boxes, ends, strict=True):
            own = slice(end - len(box), end)
            people.append(FramePeople(points[own] / size, scores[own].copy(), bool(len(seen))))
        progress(len(people), frames.num_frames)
    poses = DWPoses(people, frames.width, frames.height, Fraction(frames.fps))
    if not poses.num_found:
        raise _nobody(frames.num_frames)
    return poses


def _nobody(num_frames: int) -> MotionError:
    if num_frames == 1:
        return MotionError(
            "no_person",
            "Nobody was found in the reference picture.",
            "Send a picture in which one person can be seen, large enough and not cut off.",
        )
    return MotionError(
        "no_person",
        f"Nobody was found in any of the {num_frames} frames of the driving video.",
        "Send a video, or a range of it, in which a person can be seen, large enough and not cut off.",
    )
