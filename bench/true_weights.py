"""Random weights of the true names, types and shapes, for timing on a GPU where nothing can be downloaded.

Dense models take the same time whatever their weights are, as long as they are not zeros, so speed and memory can be
measured with them. The pictures that come out are noise and prove nothing.

    python -m bench.true_weights MODELS_FOLDER avatar|i2v|animate|multitalk ...   drawn on the GPU when there is one

39 GB for avatar (bf16), 38 GB for i2v (fp8 as published), 9 GB for animate (fp32 as published),
30 GB for multitalk (fp8 as published).
ComfyUI must be importable. A file that is there already stays as it is.
"""

import argparse
import io
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch

from bench import shapes
from bench.shapes import Shapes

TYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "U8": torch.uint8,
}
DEPTH = 0.02
FP8_SPREAD = 90.0
"""Standard deviation of what is stored as fp8: five of them reach its largest value, 448."""
EXPERT = "diffusion_models/wan2.2_i2v_{}_noise_14B_fp8_scaled.safetensors"
EXPERT_LORA = "loras/wan2.2_i2v_lightx2v_4steps_lora_v1_{}_noise.safetensors"
TEXT_ENCODER = "text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors"
WAN21_I2V = "diffusion_models/wan2.1_i2v_480p_14B_fp8_scaled.safetensors"
WAN21_LORA = "loras/lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors"
TALK_PATCH = "model_patches/multitalk.safetensors"
AUDIO_ENCODER = "audio_encoders/wav2vec2-chinese-base_fp16.safetensors"
CLIP_VISION = "clip_vision/clip_vision_h.safetensors"
SVD = "checkpoints/svd_xt.safetensors"
SAM2 = "sam2/sam2.1_hiera_large.safetensors"
FILES: dict[str, dict[str, Callable[[], Shapes]]] = {
    "avatar": {
        "diffusion_models/wan2.2_animate_14B_bf16.safetensors": shapes.wan_animate,
        "vae/wan_2.1_vae.safetensors": shapes.wan_vae,
        CLIP_VISION: shapes.clip_vision_h,
        WAN21_LORA: lambda: shapes.wan_lora("BF16", ("lora_A", "lora_B"), alpha=False),
        "loras/wan2.2_animate_14B_relight_lora_bf16.safetensors": lambda: shapes.wan_lora(
            "BF16", ("lora_A", "lora_B"), alpha=False
        ),
    },
    "i2v": {
        EXPERT.format("high"): shapes.wan_fp8_scaled,
        EXPERT.format("low"): shapes.wan_fp8_scaled,
        EXPERT_LORA.format("high"): shapes.wan_lora,
        EXPERT_LORA.format("low"): shapes.wan_lora,
        TEXT_ENCODER: shapes.umt5_xxl,
        "vae/wan_2.1_vae.safetensors": shapes.wan_vae,
    },
    "animate": {SVD: shapes.svd_xt},
    "multitalk": {
        WAN21_I2V: shapes.wan_i2v_fp8_scaled,
        WAN21_LORA: lambda: shapes.wan_lora("BF16", alpha=False, picture=True),
        TALK_PATCH: shapes.multitalk_patch,
        AUDIO_ENCODER: shapes.wav2vec2_base,
        TEXT_ENCODER: shapes.umt5_xxl,
        "vae/wan_2.1_vae.safetensors": shapes.wan_vae,
        CLIP_VISION: shapes.clip_vision_h,
    },
}
PUBLISHED = {
    EXPERT.format("high"): 14_294_742_832,
    EXPERT.format("low"): 14_294_742_832,
    EXPERT_LORA.format("high"): 1_226_977_424,
    EXPERT_LORA.format("low"): 1_226_977_424,
    TEXT_ENCODER: 6_735_906_897,
    "vae/wan_2.1_vae.safetensors": 253_815_318,
    WAN21_I2V: 16_401_356_938,
    WAN21_LORA: 738_005_744,
    AUDIO_ENCODER: 190_115_368,
    CLIP_VISION: 1_264_219_396,
    SVD: 9_559_625_980,
}
"""Bytes of the published files; `bench/shapes.py` says where ours differ."""
WITH_SAM2 = {"avatar", "segment"}


def write_random(path: Path, wanted: Shapes, given: Mapping[str, torch.Tensor] | None = None) -> None:
    """Writes a safetensors file tensor by tensor. `given`: tensors that are written as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    given = given or {}
    every = {**wanted, **{name: ("U8", tuple(value.shape)) for name, value in given.items()}}
    header, offset = {}, 0
    for name, (kind, shape) in every.items():
        size = torch.Size(shape).numel() * TYPES[kind].itemsize
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # Two files of one kind shall not hold the same numbers.
    torch.manual_seed(sum(path.name.encode()))
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, (kind, shape) in every.items():
            value = given[name] if name in given else draw(name, kind, shape, device)
            file.write(value.contiguous().flatten().view(torch.uint8).cpu().numpy().data)
    part.rename(path)


def draw(name: str, kind: str, shape: tuple[int, ...], device: str) -> torch.Tensor:
    """One tensor: normal, DEPTH deep; norms are 1, and so is a LoRA's alpha. Fp8 holds DEPTH times its scale."""
    parameter = name.rpartition(".")[2]
    if parameter == "scale_weight":
        return torch.full(shape, DEPTH / FP8_SPREAD)
    if parameter in ("gamma", "alpha", "scale_input") or (parameter == "weight" and len(shape) == 1):
        return torch.ones(shape, dtype=TYPES[kind])
    exact = torch.float32 if kind == "F32" else torch.bfloat16
    drawn = torch.randn(shape, device=device, dtype=exact) * (FP8_SPREAD if kind == "F8_E4M3" else DEPTH)
    return (drawn.clamp(-448, 448) if kind == "F8_E4M3" else drawn).to(TYPES[kind])


def tokenizer() -> torch.Tensor:
    """A sentencepiece model of few words, as bytes: prompts are filled up to 512 tokens whatever it makes of them."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(map(chr, range(97, 123)))] * 50),
        model_writer=model,
        model_type="char",
        vocab_size=64,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return torch.frombuffer(bytearray(model.getvalue()), dtype=torch.uint8)


def write_all(models: Path, operations: Iterable[str]) -> None:
    """The files of these operations, but for SAM2 (see `ensure`) and the pose detectors, which the caller adds."""
    for operation in operations:
        for name, wanted in FILES[operation].items():
            if not (models / name).exists():
                began = time.monotonic()
                write_random(models / name, wanted(), {"spiece_model": tokenizer()} if name == TEXT_ENCODER else None)
                size, seconds = (models / name).stat().st_size, time.monotonic() - began
                published = f" (published: {PUBLISHED[name] / 1e9:.2f})" if name in PUBLISHED else ""
                print(f"{size / 1e9:7.2f} GB{published} {seconds:6.1f} s  {name}", flush=True)


def write_sam2(path: Path) -> None:
    """SAM2.1 hiera large with random weights that show an oval (see demo/tiny_sam2.py), fp32."""
    from safetensors.torch import save_file
    from transformers import Sam2VideoConfig, Sam2VideoModel

    from custom_nodes.comfy_motion.segment.layouts import PATCHES, detect_config
    from demo.tiny_sam2 import make_oval, random_weights

    # The tensors by which a file is known for hiera large of version 2.1: 144 wide, 48 blocks.
    marks = {
        PATCHES: (144, 3, 7, 7),
        "vision_encoder.backbone.blocks.47.layer_norm1.weight": (1152,),
        "temporal_positional_encoding_projection_layer.weight": (64, 256),
        "occlusion_spatial_embedding_parameter": (1, 64),
    }
    config = Sam2VideoConfig.from_dict(detect_config(marks) or {})
    wanted = shapes.plain(shapes.built(lambda: Sam2VideoModel(config)), "F32")
    weights = random_weights({name: torch.Size(shape) for name, (_, shape) in wanted.items()})
    make_oval(weights)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)


def ensure(models: Path, comfyui: Path, operations: Iterable[str]) -> None:
    """Writes what is missing, in a process of its own: ComfyUI's modules, once asked for the shapes, keep a GPU.

    SAM2's shapes come from transformers: it is written here, where there is no ComfyUI for our node pack to find.
    """
    wanted = set(operations)
    if with_comfyui := sorted(wanted & FILES.keys()):
        paths = os.pathsep.join([str(comfyui), os.getcwd(), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "bench.true_weights", str(models), *with_comfyui]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=True)
    if WITH_SAM2 & wanted and not (models / SAM2).exists():
        write_sam2(models / SAM2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, help="the folder to write into")
    parser.add_argument("operations", nargs="+", choices=sorted(FILES))
    args = parser.parse_args()
    write_all(args.models, args.operations)


if __name__ == "__main__":
    main()
