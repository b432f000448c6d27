"""MultiTalk's four files, small enough for tests and the demo: core's architectures and names, random numbers.

Core's own nodes load them, one beside demo/tiny_nodes: the LoRA's file is that of the avatar graph, whose tiny model
has other sizes, so it holds the tensors for both (demo/tiny_nodes/lora.py). Text encoder, VAE, CLIP vision, SAM2 and
detectors are the avatar's. What comes out is noise: the files prove that the path runs, never what the model can do.
"""

import math
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from .tiny_multitalk_shapes import DIM, i2v_lora_shapes, i2v_shapes, patch_shapes, wav2vec2_shapes
from .tiny_wan import STEP_LORA, random_weights
from .tiny_wan_shapes import Shapes

MODEL = "diffusion_models/wan2.1_i2v_480p_14B_fp8_scaled.safetensors"
PATCH = "model_patches/multitalk.safetensors"
AUDIO_ENCODER = "audio_encoders/wav2vec2-chinese-base_fp16.safetensors"
OF_WIDTH = f"of_width_{DIM}:"
"""In the LoRA's file before the names of the tensors that are for this model and not for the avatar's."""


def write_tiny_multitalk(models_dir: Path | str, seed: int = 200) -> dict[str, Path]:
    """Writes the files under `models_dir` in ComfyUI's folders and returns their paths by relative name.

    The LoRA is added to the file that write_tiny_wan has written there, if it has. The same seed gives the same bytes.
    """
    models_dir = Path(models_dir)
    lora = {OF_WIDTH + name: value.bfloat16() for name, value in random_weights(i2v_lora_shapes(), seed + 1).items()}
    avatars = models_dir / STEP_LORA
    if avatars.is_file():
        lora |= {name: value for name, value in load_file(avatars).items() if not name.startswith(OF_WIDTH)}
    files = {
        MODEL: {name: value.bfloat16() for name, value in random_weights(i2v_shapes(), seed).items()},
        STEP_LORA: lora,
        PATCH: half_weights(patch_shapes(), seed + 2),
        AUDIO_ENCODER: half_weights(wav2vec2_shapes(), seed + 3),
    }
    written = {}
    for name, weights in files.items():
        path = models_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(weights, path, metadata={"format": "pt"})
        written[name] = path
    return written


def half_weights(shapes: Shapes, seed: int) -> dict[str, torch.Tensor]:
    """random_weights in float16, tensor by tensor: 190 MB of wav2vec2 are never held in float32."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _half(name, shapes[name], generator) for name in sorted(shapes)}


def _half(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(shape, generator=generator)
    if name.endswith(".weight_g"):
        # The length of each tap over all channels: together the taps pass on about as much as comes in.
        return torch.full(shape, math.sqrt(768 / shape[-1])).half()
    if len(shape) == 1:
        return ((1 + 0.1 * noise) if name.endswith("weight") else 0.1 * noise).half()
    # A random attention averages over all time, and twelve of them at full strength leave nothing that changes.
    strength = 0.2 if name.endswith("attention.out_proj.weight") else 1.0
    return (strength * noise / math.sqrt(math.prod(shape[1:]))).half()
