"""A MimicMotion file small enough for tests and the demo: the published names, random numbers in them.

Our node loads it beside demo/tiny_nodes, which teaches core the small UNet; CLIP vision and VAE are those of
demo/tiny_svd.py. What comes out is noise: the file proves that the path runs, never what the model can do.
"""

from pathlib import Path

import torch

from .tiny_mimicmotion_shapes import mimicmotion_shapes
from .tiny_svd_shapes import TINY_LEVELS
from .tiny_wan import random_weights

WEIGHTS = "mimicmotion/MimicMotion_1-1.pth"


def write_tiny_mimicmotion(models_dir: Path | str, levels: tuple[int, ...] = TINY_LEVELS, seed: int = 50) -> Path:
    """Writes models_dir/mimicmotion/MimicMotion_1-1.pth (float32; the published one is float16); its path.

    levels: those of the UNet's four that have attention. The same arguments give the same tensors.
    """
    path = Path(models_dir) / WEIGHTS
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = random_weights(mimicmotion_shapes(levels), seed)
    weights["pose_net.scale"] = torch.full((1,), 2.0)  # where training began: poses are seen well in what comes out
    torch.save(weights, path)
    return path
