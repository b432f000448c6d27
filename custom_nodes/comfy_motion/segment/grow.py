"""Masks grown and squared off as Wan2.2 Animate was trained on them.

Source: the authors' preprocessing (get_mask_body_img, get_aug_mask). The network was shown masks that give away
neither the outline nor the limbs of the person replaced: dilated, then filled up cell by cell.
"""

import cv2
import numpy as np
import torch

from ..video.frames import Masks


class GrownMasks(Masks):
    """Another mask video, dilated by a square and blockified over the box around the result; computed when read.

    kernel: side of the square in pixels, iterations: how often; 7 and 3 grow by 9 pixels each way.
    columns, rows: the grid the bounding box is divided into; 1 and 1 fill the whole box. The box's last row and
    column stay as the dilation left them, as in the original; `whole_box` fills them too.
    """

    def __init__(
        self,
        masks: Masks,
        kernel: int = 7,
        iterations: int = 3,
        columns: int = 1,
        rows: int = 1,
        whole_box: bool = False,
    ):
        if min(kernel, columns, rows) < 1 or iterations < 0:
            raise ValueError("kernel, columns and rows must be at least 1, iterations at least 0")
        self.masks, self.kernel, self.iterations = masks, kernel, iterations
        self.columns, self.rows, self.whole_box = columns, rows, whole_box
        self.width, self.height = masks.width, masks.height
        self.num_frames, self.fps = masks.num_frames, masks.fps

    def read(self, start: int, stop: int) -> torch.Tensor:
        # A copy, because the source may hand out its own memory.
        grown = self.masks.read(start, stop).clone()
        for mask in grown.numpy():
            dilate(mask, self.kernel, self.iterations)
            blockify(mask, self.columns, self.rows, self.whole_box)
        return grown


def dilate(mask: np.ndarray, kernel: int, iterations: int) -> None:
    """Grows a mask in place, uint8 [h, w] of 0 and 1, by kernel // 2 pixels each way and iteration."""
    x, y, width, height = cv2.boundingRect(mask)
    if not width or kernel == 1 or not iterations:
        return
    reach = kernel * iterations
    near = mask[max(y - reach, 0) : y + height + reach, max(x - reach, 0) : x + width + reach]
    near[:] = cv2.dilate(near, np.ones((kernel, kernel), np.uint8), iterations=iterations)


def blockify(mask: np.ndarray, columns: int, rows: int, whole_box: bool = False) -> None:
    """Fills, in place, every cell of the grid over the mask's bounding box that holds a pixel of it.

    uint8 [h, w] of 0 and 1. A cell is int(side / columns) wide, at least one pixel; what is left over makes one more,
    narrower column. Without `whole_box` the side is counted from first to last pixel, which leaves the last row and
    column out: what the mask has in them stays. Empty masks and lines one pixel thin stay as they are, where the
    original raises.
    """
    x, y, width, height = cv2.boundingRect(mask)
    if not whole_box:
        width, height = width - 1, height - 1
    box = mask[y : y + height, x : x + width]
    cell_height, cell_width = max(height // rows, 1), max(width // columns, 1)
    for top in range(0, height, cell_height):
        for left in range(0, width, cell_width):
            cell = box[top : top + cell_height, left : left + cell_width]
            if cell.any():
                cell[:] = 1
