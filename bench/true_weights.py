"""Random weights of the true shapes of the avatar models, for timing on a GPU.

Dense models take the same time whatever their weights are, as long as they are not zeros, so speed and memory
can be measured where nothing can be downloaded. The pictures that come out are noise and prove nothing.

    python -m bench.true_weights MODELS_FOLDER          about 39 GB, bf16, drawn on the GPU when there is one
"""

import argparse
import json
import struct
from collections.abc import Callable
from pathlib import Path

import torch

WAN_ANIMATE = {
    "in_dim": 36,
    "dim": 5120,
    "ffn_dim": 13824,
    "num_heads": 40,
    "num_layers": 40,
}
LORA_RANK = 64


def write_random(path: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None) -> None:
    """Writes a bf16 safetensors file of these shapes tensor by tensor: normal, 0.02 deep; norms are 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header: dict[str, object] = {"__metadata__": metadata or {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            file.write(_draw(name, shape, device).view(torch.uint8).numpy().tobytes())


def _draw(name: str, shape: tuple[int, ...], device: str) -> torch.Tensor:
    """One tensor on the CPU in bf16, flat."""
    module, _, parameter = name.rpartition(".")
    if parameter == "gamma" or (parameter == "weight" and "norm" in module.rpartition(".")[2]):
        return torch.ones(shape, dtype=torch.bfloat16).flatten()
    return (torch.randn(shape, device=device, dtype=torch.bfloat16) * 0.02).cpu().flatten()


def shapes_of(build: Callable[[], torch.nn.Module], prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Names and shapes of a module's state, built without memory."""
    with torch.device("meta"):
        module = build()
    return {prefix + name: tuple(value.shape) for name, value in module.state_dict().items()}


def wan_animate_shapes(config: dict | None = None) -> dict[str, tuple[int, ...]]:
    """Wan2.2-Animate-14B as core builds it."""
    from comfy.ldm.wan.model_animate import AnimateWanModel
    from comfy.ops import disable_weight_init

    return shapes_of(lambda: AnimateWanModel(operations=disable_weight_init, **(config or WAN_ANIMATE)))


def lora_shapes(layers: int, dim: int, ffn: int, rank: int = LORA_RANK) -> dict[str, tuple[int, ...]]:
    """A LoRA over every attention and feed-forward linear of the blocks."""
    linears = {f"{a}.{p}": (dim, dim) for a in ("self_attn", "cross_attn") for p in "qkvo"}
    linears |= {"ffn.0": (dim, ffn), "ffn.2": (ffn, dim)}
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        for name, (inside, outside) in linears.items():
            key = f"diffusion_model.blocks.{layer}.{name}"
            shapes[f"{key}.lora_A.weight"] = (rank, inside)
            shapes[f"{key}.lora_B.weight"] = (outside, rank)
    return shapes


def vae_shapes() -> dict[str, tuple[int, ...]]:
    """The Wan 2.1 VAE, width 96."""
    from comfy.ldm.wan.vae import WanVAE

    return shapes_of(lambda: WanVAE(dim=96, z_dim=16, temperal_downsample=[False, True, True]))


def clip_vision_shapes() -> dict[str, tuple[int, ...]]:
    """CLIP ViT-H/14."""
    import comfy.clip_vision
    from comfy.clip_model import CLIPVisionModelProjection
    from comfy.ops import disable_weight_init

    config = json.loads((Path(comfy.clip_vision.__file__).parent / "clip_vision_config_h.json").read_text())
    return shapes_of(lambda: CLIPVisionModelProjection(config, torch.float32, "meta", disable_weight_init))


def write_all(models: Path) -> None:
    """All files of the avatar graph but the detectors and SAM2, which the caller adds."""
    names = {
        "diffusion_models/wan2.2_animate_14B_bf16.safetensors": wan_animate_shapes,
        "vae/wan_2.1_vae.safetensors": vae_shapes,
        "clip_vision/clip_vision_h.safetensors": clip_vision_shapes,
    }
    for lora in (
        "loras/lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors",
        "loras/wan2.2_animate_14B_relight_lora_bf16.safetensors",
    ):
        names[lora] = lambda: lora_shapes(
            int(WAN_ANIMATE["num_layers"]), int(WAN_ANIMATE["dim"]), int(WAN_ANIMATE["ffn_dim"])
        )
    for name, shapes in names.items():
        write_random(models / name, shapes())
        print(f"{(models / name).stat().st_size / 1e9:7.2f} GB  {name}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models", type=Path, help="the folder to write into")
    write_all(parser.parse_args().models)


if __name__ == "__main__":
    main()
