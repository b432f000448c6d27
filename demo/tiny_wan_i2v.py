"""The two experts of Wan2.2 I2V A14B and their 4-step LoRAs, small enough for tests and the demo.

Core reads every size from the files and loads them as they are. Text encoder and VAE are those of tiny_wan.py. What
comes out is noise: the files prove that the path runs, never what the model can do.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

from .tiny_wan import random_weights
from .tiny_wan_shapes import RANK, Shapes, animate_shapes

HIGH_NOISE = "diffusion_models/wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors"
LOW_NOISE = "diffusion_models/wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors"
HIGH_NOISE_LORA = "loras/wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors"
LOW_NOISE_LORA = "loras/wan2.2_i2v_lightx2v_4steps_lora_v1_low_noise.safetensors"

LAYERS = 2
ONLY_ANIMATE = ("pose_patch_embedding", "img_emb", "face_", "motion_encoder")
ALPHA = RANK / 8
"""LightX2V's files carry alpha 8 at rank 64: strength 1 is an eighth of up x down."""


def write_tiny_wan_i2v(models_dir: Path | str, seed: int = 100) -> dict[str, Path]:
    """Writes the files under `models_dir` in ComfyUI's folders and returns their paths by relative name.

    The same seed gives the same bytes; no two of the files hold the same numbers.
    """
    files = {
        HIGH_NOISE: random_weights(expert_shapes(), seed),
        LOW_NOISE: random_weights(expert_shapes(), seed + 1),
        HIGH_NOISE_LORA: _lora(seed + 2),
        LOW_NOISE_LORA: _lora(seed + 3),
    }
    written = {}
    for name, weights in files.items():
        path = Path(models_dir) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.bfloat16() for key, value in weights.items()}, path, metadata={"format": "pt"})
        written[name] = path
    return written


def expert_shapes() -> Shapes:
    """One expert: Wan2.2 Animate's backbone without image, pose and face; 36 channels in (latent, mask, image)."""
    return {name: shape for name, shape in animate_shapes().items() if _of_expert(name)}


def lora_shapes() -> Shapes:
    """As LightX2V's files for Wan2.2: lora_down, lora_up and alpha on every linear layer of the blocks, no more."""
    shapes: Shapes = {}
    for name, shape in expert_shapes().items():
        if name.startswith("blocks.") and name.endswith(".weight") and len(shape) == 2:
            layer = "diffusion_model." + name.removesuffix(".weight")
            shapes |= {f"{layer}.lora_down.weight": (RANK, shape[1]), f"{layer}.lora_up.weight": (shape[0], RANK)}
            shapes[f"{layer}.alpha"] = ()
    return shapes


def _of_expert(name: str) -> bool:
    too_deep = name.startswith("blocks.") and int(name.split(".")[1]) >= LAYERS
    return not name.startswith(ONLY_ANIMATE) and "_img" not in name and not too_deep


def _lora(seed: int) -> dict[str, torch.Tensor]:
    weights = random_weights(lora_shapes(), seed)
    for name in weights:
        if name.endswith(".alpha"):
            weights[name] = torch.tensor(ALPHA)
        elif name.endswith(".lora_down.weight"):
            weights[name] *= RANK / ALPHA  # alpha takes it away again: as much at work as the other tiny LoRAs
    return weights
