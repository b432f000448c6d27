"""What goes into DWPose's pose model and what its SimCC output means, by fact 13 of MimicMotion's published pipeline.

SimCC (Li et al., ECCV 2022) gives each point two rows of bins, one for x and one for y, twice as fine as the pixels.
"""

import cv2
import numpy as np

from ..pose.heatmaps import Region
from .models import POSE_INPUT, SPLIT

MARGIN = 1.25
_ASPECT = POSE_INPUT[1] / POSE_INPUT[0]  # width by height
_SIZE = np.array(POSE_INPUT[::-1])
_MEAN = np.array([123.675, 116.28, 103.53])  # ImageNet's, RGB
_DEVIATION = np.array([58.395, 57.12, 57.375])
_NORMALISED = ((np.arange(256)[:, None] - _MEAN) / _DEVIATION).astype(np.float32)  # of each value and channel


def region_of(box: np.ndarray) -> Region:
    """The box x1, y1, x2, y2 enlarged by 1.25 and widened to 3:4, never narrowed."""
    low, high = np.asarray(box[:2], dtype=np.float64), np.asarray(box[2:4], dtype=np.float64)
    w, h = (high - low) * MARGIN
    size = (w, w / _ASPECT) if w > h * _ASPECT else (h * _ASPECT, h)
    return Region((low + high) * 0.5, np.array(size))


def pose_input(picture: np.ndarray, region: Region) -> np.ndarray:
    """The region of a uint8 RGB picture [h, w, 3] as float32 [3, 384, 288], normalised; black outside the picture."""
    w, h = (float(side) for side in _SIZE)
    (x, y), half = region.center, region.size[0] * 0.5
    # Centre, the point half a width above it and the one as far left of that. float32 from here on, as OpenCV takes
    # them: a last bit here moves the interpolation by a 32nd of a pixel.
    there = np.array([[x, y], [x, y - half], [0, 0]], dtype=np.float32)
    there[2] = there[1] - [there[0, 1] - there[1, 1], 0]
    here = np.array([[w / 2, h / 2], [w / 2, (h - w) / 2], [0, (h - w) / 2]], dtype=np.float32)
    matrix = cv2.getAffineTransform(there, here)
    crop = cv2.warpAffine(np.ascontiguousarray(picture), matrix, (int(w), int(h)), flags=cv2.INTER_LINEAR)
    values = np.asarray(crop, dtype=np.uint8)
    return np.stack([_NORMALISED[values[..., channel], channel] for channel in range(3)])


def decode(simcc_x: np.ndarray, simcc_y: np.ndarray, regions: list[Region]) -> tuple[np.ndarray, np.ndarray]:
    """Points and scores from SimCC float32 [n, k, 576] and [n, k, 768]: float64 [n, k, 2] in pixels, [n, k].

    The first highest bin of each row; the score is the smaller of the two heights. A score that is not above zero
    puts the point half a pixel up and left of the crop (of its own pixels).
    """
    scores = np.minimum(simcc_x.max(axis=2), simcc_y.max(axis=2)).astype(np.float64)
    bins = np.stack([simcc_x.argmax(axis=2), simcc_y.argmax(axis=2)], axis=-1).astype(np.float64)
    nowhere = ~(scores > 0)
    bins[nowhere] = -1
    scores[np.isnan(scores)] = 0
    size = np.stack([region.size for region in regions])[:, None]
    center = np.stack([region.center for region in regions])[:, None]
    return bins / SPLIT / _SIZE * size + center - size / 2, scores
