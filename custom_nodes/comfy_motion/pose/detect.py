"""From a video to a Pose: who is in each frame, whom to follow, where that person's 133 points are.

The video is read twice, a few frames at a time: the person can only be followed once everybody has been found, a
video without anybody is refused before the large model runs, and the two models never need the GPU together.
"""

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from ..video.frames import Frames
from . import heatmaps, people
from .keypoints import NUM_POINTS, Pose
from .models import PoseModels

CHUNK = 8  # frames read and run at a time


def find_people(frames: Frames, models: PoseModels, progress: Callable[[int], None]) -> list[np.ndarray]:
    """Everybody in every frame: one float64 [n, 5] a frame (people.people_in). `progress(frames done)`."""
    found: list[np.ndarray] = []
    for chunk in frames.chunks(CHUNK):
        inputs = np.stack([people.detector_input(picture) for picture in chunk.numpy()])
        found += [people.people_in(rows, frames.width, frames.height) for rows in models.detector.run(inputs)]
        progress(len(found))
    return found


def find_points(
    frames: Frames, boxes: np.ndarray, models: PoseModels, progress: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """The points of the person in `boxes` [F, 5]: float32 [F, 133, 2] and scores [F, 133]. `progress(frames done)`."""
    points = np.zeros((frames.num_frames, NUM_POINTS, 2), dtype=np.float32)
    scores = np.zeros((frames.num_frames, NUM_POINTS), dtype=np.float32)
    done = 0
    for chunk in frames.chunks(CHUNK):
        now = slice(done, done + len(chunk))
        regions = [heatmaps.region_of(box, frames.width, frames.height) for box in boxes[now]]
        pictures = zip(chunk.numpy(), regions, strict=True)
        inputs = np.stack([heatmaps.pose_input(picture, region) for picture, region in pictures])
        points[now], scores[now] = heatmaps.decode(models.pose.run(inputs), regions)
        done += len(chunk)
        progress(done)
    return points, scores


def detect_pose(
    frames: Frames,
    models: PoseModels,
    point: tuple[float, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Pose:
    """The pose of the largest person, or of the one under `point` (x, y as fractions of the picture).

    `progress(done, total)` is called after every few frames and may raise to stop the work. Where nobody is found
    the authors' rule holds: the points are looked for in the whole picture.
    Raises MotionError no_person (nobody in any frame) or model_file (an ONNX file of another kind).
    """
    total = 2 * frames.num_frames
    report = progress or (lambda done, total: None)
    found = find_people(frames, models, lambda done: report(done, total))
    boxes = people.choose_boxes(found, frames.width, frames.height, point)
    points, scores = find_points(frames, boxes, models, lambda done: report(frames.num_frames + done, total))
    return Pose(points, scores, boxes, frames.width, frames.height, Fraction(frames.fps))
