"""A Wan2.2 Animate small enough for tests and the demo: core's architectures and tensor names, random numbers in it.

Core's own loader nodes load every file; two of them only beside demo/tiny_nodes, which teaches core the small size
(see there). Everything that core fixes in size keeps it, the face encoder above all. What comes out is noise: the
files prove that the path runs, never what the model can do.
"""

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from custom_nodes.comfy_motion.avatar.prompt_cache import PromptCache

from .tiny_wan_shapes import (
    TEXT_WIDTH,
    Shapes,
    animate_shapes,
    clip_vision_shapes,
    relight_lora_shapes,
    step_lora_shapes,
    text_encoder_shapes,
    vae_shapes,
)

MODEL = "diffusion_models/wan2.2_animate_14B_bf16.safetensors"
STEP_LORA = "loras/lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors"
RELIGHT_LORA = "loras/wan2.2_animate_14B_relight_lora_bf16.safetensors"
VAE = "vae/wan_2.1_vae.safetensors"
CLIP_VISION = "clip_vision/clip_vision_h.safetensors"
TEXT_ENCODER = "text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors"
PROMPTS = "encoded_prompts"
GRAPH = Path(__file__).parents[1] / "workflows" / "avatar.json"

PROMPT_TOKENS = 16


def write_tiny_wan(
    models_dir: Path | str, prompts: Sequence[str] | None = None, vae_width: int = 1, seed: int = 0
) -> dict[str, Path]:
    """Writes all files under `models_dir` in ComfyUI's folders and returns their paths by relative name.

    `prompts` are the texts that will be found encoded on disk; None takes those of workflows/avatar.json. The same
    arguments give the same bytes. `vae_width` is the VAE's base width: encoding and decoding five frames of 1280x720
    took 9.6 s at 1, 17 s at 2, 37 s at 4, 47 s at 8 and 62 s at 16 on 2 busy cores (true width: 96).
    """
    models_dir = Path(models_dir)
    files = {
        MODEL: random_weights(animate_shapes(), seed),
        VAE: random_weights(vae_shapes(vae_width), seed + 1),
        CLIP_VISION: random_weights(clip_vision_shapes(), seed + 2),
        STEP_LORA: random_weights(step_lora_shapes(), seed + 3),
        RELIGHT_LORA: random_weights(relight_lora_shapes(), seed + 4),
    }
    fix_constants(files[MODEL])
    centre_pictures(files[VAE])
    written = {}
    for name, weights in files.items():
        written[name] = _save(models_dir / name, {key: value.bfloat16() for key, value in weights.items()})
    written[TEXT_ENCODER] = _save(models_dir / TEXT_ENCODER, text_encoder(seed + 5))
    cache = PromptCache(models_dir / PROMPTS)
    generator = torch.Generator().manual_seed(seed + 6)
    for text in graph_prompts() if prompts is None else prompts:
        cond = torch.randn((1, PROMPT_TOKENS, TEXT_WIDTH), generator=generator).bfloat16()
        path = cache.save(written[TEXT_ENCODER], text, [[cond, {"pooled_output": None}]])
        assert path is not None
        written[f"{PROMPTS}/{path.name}"] = path
    (models_dir / PROMPTS / "encoders.json").unlink(missing_ok=True)  # names paths of this machine
    return written


def graph_prompts() -> list[str]:
    """The texts of the encoded prompts in workflows/avatar.json."""
    nodes = json.loads(GRAPH.read_text(encoding="utf-8")).values()
    return [node["inputs"]["text"] for node in nodes if node["class_type"] == "CMEncodedPrompt"]


def random_weights(shapes: Shapes, seed: int) -> dict[str, torch.Tensor]:
    """Seeded float32 numbers that keep every part of a network at work, by sorted name."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name in sorted(shapes):
        shape = shapes[name]
        noise = torch.randn(shape, generator=generator)
        is_norm = name.endswith((".gamma", "norm_q.weight", "norm_k.weight", "norm_k_img.weight")) or (
            len(shape) == 1 and name.endswith("weight")
        )
        if name.endswith((".lora_down.weight", ".lora_A.weight", ".lora_up.weight", ".lora_B.weight")):
            weights[name] = 0.3 * noise / math.sqrt(math.prod(shape[1:]))
        elif name.endswith((".diff", ".diff_b")):
            weights[name] = 0.02 * noise
        elif is_norm:
            weights[name] = 1 + 0.1 * noise
        elif name.startswith("motion_encoder") and name.endswith("weight"):
            weights[name] = noise  # these layers divide by the root of their width themselves
        elif len(shape) > 1 and name.endswith("weight"):
            weights[name] = noise / math.sqrt(math.prod(shape[1:]))
        else:
            weights[name] = 0.1 * noise
    return weights


def fix_constants(weights: dict[str, torch.Tensor]) -> None:
    """The blur kernels of the motion encoder are no weights: binomial, as in every published file. In place."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = row[:, None] * row[None, :] / row.sum() ** 2
    for name in weights:
        if name.endswith(".kernel"):
            weights[name] = kernel.clone()


def centre_pictures(weights: dict[str, torch.Tensor]) -> None:
    """Brings what the VAE decodes to the middle of 0..1, so that it is never taken for black. In place."""
    weights["decoder.head.2.bias"] *= 0


def text_encoder(seed: int) -> dict[str, torch.Tensor]:
    """A real UMT5 with its tokenizer inside, one narrow layer deep: for prompts that are not on disk."""
    tokenizer = byte_tokenizer()
    weights = random_weights(text_encoder_shapes(tokenizer.get_piece_size()), seed)
    small = {name: value.bfloat16() for name, value in weights.items()}
    model = torch.frombuffer(bytearray(tokenizer.serialized_model_proto()), dtype=torch.uint8)
    return small | {"spiece_model": model}


def byte_tokenizer():
    """A sentencepiece model that spells every text in its bytes; ids 0, 1, 2 are pad, end, unknown as in UMT5's."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a person moves", "the person in the video"]),
        model_writer=model,
        vocab_size=280,
        model_type="unigram",
        byte_fallback=True,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def _save(path: Path, weights: dict[str, torch.Tensor]) -> Path:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata={"format": "pt"})
    return path
