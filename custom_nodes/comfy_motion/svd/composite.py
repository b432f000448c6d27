"""SVD's frames put back into the picture they were made from: what the mask says moves, all else stays the picture."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ..errors import MotionError
from ..video.frames import Frames, to_uint8
from .framing import centre_crop

_WHITE = 0.5
_AT_LEAST = "Draw in white what is to move."


def check_mask(image: torch.Tensor, mask: torch.Tensor, frame_size: tuple[int, int] | None = None) -> None:
    """Raises MotionError when `mask` [n, h, w] is no mask for `image` [n, h, w, 3], before anything is generated.

    mask_mismatch: it has another size. empty_mask: none of it is white, or none where a video of frame_size
    (width, height) will be.
    """
    size, mask_size = (image.shape[2], image.shape[1]), (mask.shape[-1], mask.shape[-2])
    if size != mask_size:
        raise MotionError(
            "mask_mismatch",
            "The mask has {}x{} pixels and the image {}x{}.".format(*mask_size, *size),
            "Send a mask of the image's own size, as it is shown (turned by its EXIF data).",
        )
    white = _white(mask)
    if not white.any():
        raise MotionError("empty_mask", "The mask is black everywhere: nothing would move.", _AT_LEAST)
    if frame_size is not None:
        left, top, width, height = centre_crop(size, frame_size)
        if not white[top : top + height, left : left + width].any():
            raise MotionError(
                "empty_mask",
                f"The mask is white only at the picture's rim. What can move is the middle {width}x{height} of "
                f"{size[0]}x{size[1]} pixels, the part that has the video's shape.",
                _AT_LEAST,
            )


def _white(mask: torch.Tensor) -> torch.Tensor:
    """[n, h, w] or [h, w] to bool [h, w]."""
    return mask.reshape(-1, *mask.shape[-2:])[0] > _WHITE


@dataclass(frozen=True)
class Canvas:
    """A picture on its way to the result: `used` of its pixels are shown at `size`, both (width, height)."""

    used: tuple[int, int]
    size: tuple[int, int]

    @classmethod
    def of(cls, image: tuple[int, int], wanted: tuple[int, int]) -> "Canvas":
        """wanted: 0 is the picture's own width or height, made even. An odd one loses its last column or row, which
        leaves every other pixel as it is; any other size is scaled to."""
        width, height = (given or own - own % 2 for own, given in zip(image, wanted, strict=True))
        own = 0 <= image[0] - width <= 1 and 0 <= image[1] - height <= 1
        return cls((width, height) if own else image, (width, height))

    def scaled(self, x: float, y: float) -> tuple[float, float]:
        """A point of the picture in the result's pixels."""
        return x * self.size[0] / self.used[0], y * self.size[1] / self.used[1]

    def still(self, image: torch.Tensor) -> np.ndarray:
        """Float [n, h, w, 3] to uint8 [height, width, 3] of the result: the same values, or Lanczos."""
        picture = to_uint8(image[:1, : self.used[1], : self.used[0]])[0].numpy()
        if self.used == self.size:
            return picture
        return np.array(Image.fromarray(picture).resize(self.size, Image.Resampling.LANCZOS))

    def moving(self, mask: torch.Tensor) -> np.ndarray:
        """bool [height, width]: a pixel of the result moves when all pixels of the mask under it are white."""
        black = (~_white(mask)[: self.used[1], : self.used[0]]).float()
        pooled = F.adaptive_max_pool2d(black[None, None], (self.size[1], self.size[0]))
        return (pooled[0, 0] == 0).cpu().numpy()


def feathered(moving: np.ndarray, feather: int) -> np.ndarray:
    """bool [h, w] to the frames' weight, float32: 0 outside, rising smoothly to 1 at `feather` pixels inside.

    The distance is to the nearest pixel outside, so an edge of the picture is no edge of the mask.
    """
    if moving.all():
        return np.ones(moving.shape, np.float32)
    distance = cv2.distanceTransform(moving.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    part = np.clip(distance / max(feather, 1), 0, 1)
    return part * part * (3 - 2 * part)


class CompositeFrames(Frames):
    """Frames scaled onto the part of the picture they were made from, shown where the mask is white; made when read.

    frames: the video, of any size. image: float [n, h, w, 3] and mask: float [n, h, w], of which the first are used.
    size: (width, height) of the result, 0 for the picture's own. feather: pixels of the result over which the still
    picture becomes the frame, inside the mask: where the mask is black every pixel is the still picture's, and deeper
    inside than `feather` it is the frame's. The edge of the part SVD sees is feathered like an edge of the mask.
    Raises MotionError mask_mismatch or empty_mask.
    """

    def __init__(self, frames: Frames, image: torch.Tensor, mask: torch.Tensor, size: tuple[int, int], feather: int):
        check_mask(image, mask, (frames.width, frames.height))
        picture = image.shape[2], image.shape[1]
        canvas = Canvas.of(picture, size)
        left, top, width, height = centre_crop(picture, (frames.width, frames.height))
        self._at = (*canvas.scaled(left, top), *canvas.scaled(left + width, top + height))  # of the frame's edges
        moving = canvas.moving(mask)
        inside = np.zeros_like(moving)
        inside[_whole(self._at[1], self._at[3], canvas.size[1]), _whole(self._at[0], self._at[2], canvas.size[0])] = 1
        weight = feathered(moving & inside, feather)
        rows, columns = (np.flatnonzero(weight.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            raise MotionError("empty_mask", "The mask's white is finer than a pixel of the result.", _AT_LEAST)
        self._part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        self._weight = np.ascontiguousarray(weight[self._part])[..., None]
        self._still = canvas.still(image)
        self.frames, self.fps, self.num_frames = frames, frames.fps, frames.num_frames
        self.width, self.height = canvas.size

    def read(self, start: int, stop: int) -> torch.Tensor:
        result = torch.from_numpy(self._still).repeat(stop - start, 1, 1, 1)
        still = self._still[self._part].astype(np.float32)
        for picture, moved in zip(result.numpy(), self._placed(start, stop), strict=True):
            picture[self._part] = np.rint(still + self._weight * (moved - still)).astype(np.uint8)
        return result

    def _placed(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """The frames at the result's scale, only the part that is shown: float32 [h, w, 3]."""
        left, top, right, bottom = self._at
        rows, columns = self._part
        across, down = self.frames.width / (right - left), self.frames.height / (bottom - top)
        box = (
            max(0.0, (columns.start - left) * across),
            max(0.0, (rows.start - top) * down),
            min(self.frames.width, (columns.stop - left) * across),
            min(self.frames.height, (rows.stop - top) * down),
        )
        size = columns.stop - columns.start, rows.stop - rows.start
        for frame in self.frames.read(start, stop).numpy():
            # Antialiased where it shrinks. Pillow's filter looks beyond the box: a part has no edges of its own.
            moved = Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS, box=box)
            yield np.asarray(moved, np.float32)


def _whole(low: float, high: float, length: int) -> slice:
    """The pixels that lie in low..high with all their width; rounding errors of a hundredth do not count."""
    return slice(max(0, math.ceil(low - 0.01)), min(length, math.floor(high + 0.01)))
