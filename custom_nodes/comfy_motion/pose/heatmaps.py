"""What goes into ViTPose and what its heatmaps mean.

Source of the rules: Wan2.2 Animate's published preprocessing; the sub-pixel step is DARK (Zhang et al., "Distribution-
Aware Coordinate Representation for Human Pose Estimation", CVPR 2020).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .models import POSE_INPUT

MARGIN = 1.25
MIN_SIDE = 10
BLUR = 11
_ASPECT = POSE_INPUT[0] / POSE_INPUT[1]
_MEAN = np.array([0.485, 0.456, 0.406])  # of RGB, yet applied to BGR: the authors feed the model this way round
_DEVIATION = np.array([0.229, 0.224, 0.225])


@dataclass(frozen=True)
class Region:
    """The 3:4 part of a picture that ViTPose looks at: centre x, y and size w, h in pixels, float64 [2] each."""

    center: np.ndarray
    size: np.ndarray


def region_of(box: np.ndarray, width: int, height: int) -> Region:
    """The box [5] widened to 3:4 and by 1.25; the whole picture if its score is <= 0 or a side is under 10 px."""
    x1, y1, x2, y2, score = (float(value) for value in box)
    if score <= 0 or x2 - x1 < MIN_SIDE or y2 - y1 < MIN_SIDE:
        x1, y1, x2, y2 = 0.0, 0.0, float(width), float(height)
    side = max((x2 - x1) * _ASPECT, y2 - y1)
    # Divided by 200 and back, as the authors carry it: ties in the rounding below depend on the last bit.
    size = np.array([side / _ASPECT, side]) / 200.0 * MARGIN * 200
    return Region(np.array([(x1 + x2) / 2.0, (y1 + y2) / 2.0]), size)


def _corners(region: Region) -> tuple[int, int, int, int]:
    """The region in whole pixels, left, top, right, bottom; half pixels go where the authors' matrix sends them."""
    rows, columns = POSE_INPUT
    h = float(region.size[1])
    w = h / _ASPECT
    to_crop = np.eye(3)
    to_crop[0, 0], to_crop[0, 2] = columns / w, columns * (-region.center[0] / w + 0.5)
    to_crop[1, 1], to_crop[1, 2] = rows / h, rows * (-region.center[1] / h + 0.5)
    to_picture = np.linalg.inv(to_crop)
    left, top, _ = to_picture @ np.array([0.0, 0.0, 1.0])
    right, bottom, _ = to_picture @ np.array([float(columns), float(rows), 1.0])
    return round(left), round(top), round(right), round(bottom)


def pose_input(picture: np.ndarray, region: Region) -> np.ndarray:
    """The region of a uint8 RGB picture [h, w, 3] as ViTPose takes it: float32 [3, 256, 192], BGR, zero outside."""
    left, top, right, bottom = _corners(region)
    crop = np.zeros((bottom - top, right - left, 3), dtype=np.float32)
    height, width = picture.shape[:2]
    x1, x2, y1, y2 = max(left, 0), min(right, width), max(top, 0), min(bottom, height)
    if x1 < x2 and y1 < y2:
        crop[y1 - top : y2 - top, x1 - left : x2 - left] = picture[y1:y2, x1:x2, ::-1]
    crop = cv2.resize(crop, (POSE_INPUT[1], POSE_INPUT[0]), interpolation=cv2.INTER_LINEAR)
    return ((crop / np.float32(255.0) - _MEAN) / _DEVIATION).transpose(2, 0, 1).astype(np.float32)


def decode(heatmaps: np.ndarray, regions: list[Region]) -> tuple[np.ndarray, np.ndarray]:
    """Points and scores from heatmaps float32 [n, k, h, w]: float32 [n, k, 2] in pixels of the picture, [n, k].

    The peak of each map, moved by a Taylor step on the logarithm of the blurred map when 1 < x < w - 2 and
    1 < y < h - 2. A map without a value above zero gives the point (-1, -1) of the map.
    """
    n, k, h, w = heatmaps.shape
    flat = heatmaps.reshape(n, k, -1)
    index, scores = flat.argmax(axis=2), flat.max(axis=2)
    peaks = np.stack([index % w, index // w], axis=-1)
    peaks[scores <= 0] = -1
    points = peaks.astype(np.float32)
    x, y = peaks[..., 0], peaks[..., 1]
    inside = (x > 1) & (x < w - 2) & (y > 1) & (y < h - 2)
    if inside.any():
        maps = np.log(np.maximum(_blurred(heatmaps, scores)[inside], np.float32(1e-10)))
        points[inside] += _taylor_step(maps, x[inside], y[inside])
    size = np.stack([region.size for region in regions])[:, None]
    center = np.stack([region.center for region in regions])[:, None]
    return (points * (size / (w, h)) + center - size * 0.5).astype(np.float32), scores


def _blurred(heatmaps: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Each map blurred by a Gaussian of 11 pixels, zero outside, and scaled back to its old peak."""
    n, k, h, w = heatmaps.shape
    border = BLUR // 2
    padded = np.zeros((n * k, h + 2 * border, w + 2 * border), dtype=np.float32)
    padded[:, border:-border, border:-border] = heatmaps.reshape(n * k, h, w)
    # One tall picture for all maps: the zeros between two of them are as wide as the kernel.
    tall = cv2.GaussianBlur(padded.reshape(-1, w + 2 * border), (BLUR, BLUR), 0)
    blurred = tall.reshape(padded.shape)[:, border:-border, border:-border].reshape(n, k, h, w)
    tops = blurred.max(axis=(2, 3))
    factors = np.divide(peaks, tops, out=np.zeros_like(peaks), where=tops > 0)
    return blurred * factors[..., None, None]


def _taylor_step(maps: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The step from the pixel (x, y) to the top of the paraboloid there, float32 [m, 2]; zero where it has none."""
    rows = np.arange(len(maps))

    def at(dx: int, dy: int) -> np.ndarray:
        return maps[rows, y + dy, x + dx]

    half, quarter = np.float32(0.5), np.float32(0.25)
    dx, dy = half * (at(1, 0) - at(-1, 0)), half * (at(0, 1) - at(0, -1))
    dxx = quarter * (at(2, 0) - 2 * at(0, 0) + at(-2, 0))
    dyy = quarter * (at(0, 2) - 2 * at(0, 0) + at(0, -2))
    dxy = quarter * (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1))
    determinant = dxx * dyy - dxy * dxy
    curved = determinant != 0
    safe = np.where(curved, determinant, np.float32(1))
    step = np.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=-1) / safe[:, None]
    return np.where(curved[:, None], step, np.float32(0))
