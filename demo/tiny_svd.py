"""An SVD-XT checkpoint small enough for tests and the demo: the published names, random numbers in them.

Core's ImageOnlyCheckpointLoader loads it beside demo/tiny_nodes, which teaches core the small sizes. What comes out
is noise: the file proves that the path runs, never what the model can do.
"""

from pathlib import Path

import torch

from .tiny_svd_shapes import TINY_LEVELS, checkpoint_shapes
from .tiny_wan import random_weights

CHECKPOINT = "checkpoints/svd_xt.safetensors"


def write_tiny_svd(models_dir: Path | str, levels: tuple[int, ...] = TINY_LEVELS, seed: int = 40) -> Path:
    """Writes models_dir/checkpoints/svd_xt.safetensors (float32, as the published file); its path.

    levels: those of the UNet's four that have attention. The same arguments give the same bytes.
    """
    from safetensors.torch import save_file

    path = Path(models_dir) / CHECKPOINT
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = random_weights(checkpoint_shapes(levels), seed)
    fix_scales(weights)
    save_file(weights, path, metadata={"format": "pt"})
    return path


def fix_scales(weights: dict[str, torch.Tensor]) -> None:
    """Brings what the VAE decodes to the middle of 0..1, so that it is never taken for black. In place."""
    for name in ("conv_out.bias", "conv_out.time_mix_conv.bias"):
        weights[f"first_stage_model.decoder.{name}"] *= 0
