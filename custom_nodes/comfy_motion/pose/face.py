"""The face video: a 512x512 crop around the face, steady from frame to frame.

The box follows Wan2.2 Animate's published preprocessing. What theirs has no rule for is ours: a frame whose face is
not seen or off the picture takes its box from its neighbours in time, and the box can be smoothed over time.
"""

import math
from fractions import Fraction

import cv2
import numpy as np
import torch

from ..errors import MotionError
from ..video.frames import Frames
from .keypoints import FACE, Pose, in_pixels, normalized

SIZE = 512
GROWTH = math.sqrt(1.3)
FACE_SEEN = 0.3  # mean score of the 68 points; turned-away faces stay well above, noise below
IN_PICTURE = 0.25  # share of the box's area that must be inside the picture
CHUNK = 16  # source frames in memory at a time


def raw_boxes(pose: Pose, width: int, height: int) -> np.ndarray:
    """The authors' box before clipping, x1, y1, x2, y2 as float64 [F, 4] in pixels of a picture of that size.

    The bounds of the 68 face points grow by sqrt(1.3): half left and half right, three quarters up, one down.
    """
    points = in_pixels(normalized(pose)[:, FACE], width, height)
    low, high = points.min(axis=1), points.max(axis=1)
    extra = (high - low) * (GROWTH - 1)
    return np.concatenate([low - extra * (0.5, 0.75), high + extra * (0.5, 0.25)], axis=1)


def _clipped(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.concatenate([np.maximum(boxes[:, :2], 0), np.minimum(boxes[:, 2:], (width, height))], axis=1)


def seen_faces(pose: Pose, boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Which frames show a face: bool [F]. `boxes` are raw_boxes of the same size."""
    inside = np.clip(_clipped(boxes, width, height)[:, 2:] - _clipped(boxes, width, height)[:, :2], 0, None)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    on_picture = (inside >= 1).all(axis=1) & (inside.prod(axis=1) >= area * IN_PICTURE)
    return on_picture & (pose.scores[:, FACE].mean(axis=1) >= FACE_SEEN)


def _smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean over time of float64 [F, k]; at the ends the weights that are left count for all."""
    radius = math.ceil(3 * sigma)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    full = slice(radius, radius + len(values))
    total = np.convolve(np.ones(len(values)), weights)[full]
    return np.stack([np.convolve(column, weights)[full] / total for column in values.T], axis=1)


def face_boxes(pose: Pose, width: int, height: int, smooth: float = 0.0) -> np.ndarray:
    """The crop of every frame, whole pixels x1, y1, x2, y2 as int64 [F, 4], inside a picture of that size.

    `smooth` in seconds: centre and size are averaged over about that long (a Gaussian of half of it); 0 gives the
    authors' box wherever the face is seen. Raises MotionError no_face when it is seen in no frame.
    """
    boxes = raw_boxes(pose, width, height)
    seen = seen_faces(pose, boxes, width, height)
    if not seen.any():
        raise MotionError(
            "no_face",
            f"no face was seen in any of the {pose.num_frames} frames",
            "use a video that shows the person's face, or choose another person by a point",
        )
    if not seen.all():
        times = np.arange(len(boxes))
        boxes = np.stack([np.interp(times, times[seen], column[seen]) for column in boxes.T], axis=1)
    sigma = smooth / 2 * float(pose.fps)
    if sigma > 0.01:
        sides = _smoothed(np.concatenate([boxes[:, :2] + boxes[:, 2:], boxes[:, 2:] - boxes[:, :2]], axis=1), sigma)
        boxes = np.concatenate([sides[:, :2] - sides[:, 2:], sides[:, :2] + sides[:, 2:]], axis=1) / 2
    whole = _clipped(boxes, width, height).astype(np.int64)
    whole[:, :2] = np.clip(whole[:, :2], 0, (width - 1, height - 1))
    whole[:, 2:] = np.maximum(whole[:, 2:], whole[:, :2] + 1)  # a very small face still has a pixel
    return whole


class FaceFrames(Frames):
    """512x512 face crops of `frames`, stretched (bilinear) from each frame's box; source frames are read when asked."""

    def __init__(self, frames: Frames, pose: Pose, smooth: float = 0.0):
        """`pose` belongs to `frames`, frame by frame (ValueError if not); `smooth` in seconds, see face_boxes."""
        if pose.num_frames != frames.num_frames:
            raise ValueError(f"the pose has {pose.num_frames} frames and the video {frames.num_frames}")
        self.width = self.height = SIZE
        self.num_frames, self.fps = frames.num_frames, Fraction(frames.fps)
        self.frames = frames
        self.boxes = face_boxes(pose, frames.width, frames.height, smooth)

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.check_range(start, stop)
        out = np.empty((stop - start, SIZE, SIZE, 3), dtype=np.uint8)
        for first in range(start, stop, CHUNK):
            pictures = self.frames.read(first, min(first + CHUNK, stop)).numpy()
            for i, picture in enumerate(pictures, first):
                x1, y1, x2, y2 = self.boxes[i]
                crop = np.ascontiguousarray(picture[y1:y2, x1:x2])
                out[i - start] = cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        return torch.from_numpy(out)
