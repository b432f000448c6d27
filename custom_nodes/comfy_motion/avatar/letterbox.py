"""Fitting the reference picture into the video's size without cutting anything off."""

import numpy as np
import torch

from ..video.fit import fitted, place
from ..video.frames import to_uint8

FITS = ("letterbox", "crop")


def letterbox(images: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Float [n, h, w, 3 or 4] in 0..1 to float [n, height, width, 3]: the whole picture, centred on black.

    Size and place are the authors' (`padding_resize`, wan/animate.py), on 8-bit values as theirs, with the
    interpolation of their preprocessing: averaged when it shrinks, bilinear when it grows. Their generate()
    is bilinear in both cases, which aliases when a large photograph shrinks.
    """
    pictures = to_uint8(images).numpy()
    placement = place((images.shape[2], images.shape[1]), (width, height))
    canvases = np.stack([fitted(picture, (width, height), placement) for picture in pictures])
    return torch.from_numpy(canvases).to(torch.float32).div_(255.0)
