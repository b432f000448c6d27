"""A SAM2 small enough for tests and the demo: transformers' architecture and tensor names, random numbers in it.

It is loaded by the same node and code path as the real one, because its `<name>.json` beside it says how small it is.
What it segments means nothing: whatever the picture shows, the mask is an upright oval in the middle whose edge,
and only that, depends on the picture, the prompts and the memory of earlier frames.
"""

import json
import math
from pathlib import Path

import torch

NAME = "sam2.1_hiera_large"
# Twice the 64 the library fixes for memories: it splits object pointers in parts of that size, and fails on one part.
WIDTH = 128
# Logits: OVAL inside and 0 outside, minus FLOOR everywhere, plus about 3 of noise from the random network.
OVAL, FLOOR = 16.0, 9.0


def tiny_config(image_size: int = 128) -> dict:
    """The arguments of a Sam2VideoConfig for square pictures of `image_size` pixels, a multiple of 32."""
    if image_size % 32:
        raise ValueError(f"image_size must be a multiple of 32, not {image_size}")
    stages = [16, 32, 64, 128]
    return {
        "model_type": "sam2_video",
        "image_size": image_size,
        "vision_config": {
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": stages[0],
                "image_size": [image_size, image_size],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": stages,
                "num_attention_heads_per_stage": [1, 2, 4, 8],
                "window_size_per_stage": [8, 4, 4, 4],
                "global_attention_blocks": [3],
            },
            "model_type": "sam2_vision_model",
            "backbone_channel_list": stages[::-1],
            "backbone_feature_sizes": [[image_size // stride] * 2 for stride in (4, 8, 16)],
            "fpn_hidden_size": WIDTH,
        },
        "prompt_encoder_config": {"hidden_size": WIDTH, "image_size": image_size},
        "mask_decoder_config": {"hidden_size": WIDTH, "mlp_dim": 2 * WIDTH, "iou_head_hidden_dim": WIDTH},
        "memory_attention_hidden_size": WIDTH,
        "memory_attention_num_layers": 2,
        "memory_attention_feed_forward_hidden_size": 2 * WIDTH,
        "memory_attention_rope_feat_sizes": [image_size // 16] * 2,
        "memory_encoder_hidden_size": WIDTH,
        "mask_downsampler_embed_dim": WIDTH,
        "memory_fuser_embed_dim": WIDTH,
        "memory_fuser_intermediate_dim": 2 * WIDTH,
    }


def random_weights(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    """Seeded float32 numbers that keep every part of the network at work, by sorted name.

    The library's own initialisation is too faint for that: with it memories and pointers change no mask.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name in sorted(shapes):
        shape = shapes[name]
        noise = torch.randn(shape, generator=generator)
        if "layer_norm" in name and name.endswith("weight"):
            weights[name] = 1 + 0.1 * noise
        elif name.endswith("bias"):
            weights[name] = 0.1 * noise
        elif len(shape) > 1 and name.endswith("weight") and "embed." not in name and "token" not in name:
            weights[name] = noise / math.prod(shape[1:]) ** 0.5
        else:
            weights[name] = noise
    # One matrix in two places, as in the published files.
    weights["shared_image_embedding.positional_embedding"] = weights[
        "prompt_encoder.shared_embedding.positional_embedding"
    ].clone()
    return weights


def make_oval(weights: dict[str, torch.Tensor]) -> None:
    """Gives channel 0 of the finest features the shape of an oval and lets the mask decoder show it, in place.

    A mask is the product of an upscaled feature map and a vector the decoder makes of its tokens. Channel 0 of the
    map becomes the oval, by way of the backbone's position embedding and nothing else; channel 1 becomes constant;
    the vector weighs them with OVAL and -FLOOR. The other channels stay random. The object is always there.
    """
    rows, columns = (torch.linspace(-1, 1, steps=7) for _ in range(2))
    distance = (rows[:, None] / 0.85) ** 2 + (columns[None, :] / 0.5) ** 2
    backbone, decoder = "vision_encoder.backbone.", "mask_decoder."
    weights[backbone + "pos_embed"][0, 0] = torch.where(distance < 1, 1.0, -1.0)
    weights[backbone + "pos_embed_window"][0, 0] = 0
    # The first stage ends where a block has a projection to the next one's width.
    first = next(index for index in range(len(weights)) if f"{backbone}blocks.{index}.proj.weight" in weights)
    inside = [f"blocks.{index}.{layer}" for index in range(first) for layer in ("attn.proj", "mlp.proj_out")]
    for layer in ("patch_embed.projection", *inside):
        weights[f"{backbone}{layer}.weight"][0] = 0
        weights[f"{backbone}{layer}.bias"][0] = 0
    for layer in ("vision_encoder.neck.convs.3", decoder + "conv_s0"):
        weights[layer + ".weight"][0] = 0
        weights[layer + ".weight"][0, 0] = 1
        weights[layer + ".bias"][0] = 0
    weights[decoder + "conv_s0.weight"][1] = 0
    weights[decoder + "conv_s0.bias"][1] = 0
    weights[decoder + "upscale_conv2.weight"][:, :2] = 0
    weights[decoder + "upscale_conv2.bias"][:2] = torch.tensor([0.0, 1.0])
    for token in range(4):
        head = f"{decoder}output_hypernetworks_mlps.{token}.proj_out"
        weights[head + ".weight"] *= 0.2
        weights[head + ".bias"] *= 0
        weights[head + ".weight"][:2] = 0
        # GELU(1) = 0.84 of both channels gets through.
        weights[head + ".bias"][:2] = torch.tensor([OVAL, -FLOOR]) / 0.84
    weights[decoder + "pred_obj_score_head.proj_out.weight"] *= 0
    weights[decoder + "pred_obj_score_head.proj_out.bias"][:] = 10


def write_tiny_sam2(folder: Path | str, image_size: int = 128, seed: int = 0) -> Path:
    """Writes `sam2.1_hiera_large.safetensors` and its .json into `folder` and returns the path of the weights."""
    from safetensors.torch import save_file
    from transformers import Sam2VideoConfig, Sam2VideoMaskDecoderConfig, Sam2VideoModel

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = tiny_config(image_size)
    # The object, not the dict, for the mask decoder: transformers 5.17 takes the wrong class for a dict.
    decoder = Sam2VideoMaskDecoderConfig.from_dict(config["mask_decoder_config"])
    with torch.device("meta"):
        model = Sam2VideoModel(Sam2VideoConfig.from_dict({**config, "mask_decoder_config": decoder}))
    weights = random_weights({name: value.shape for name, value in model.state_dict().items()}, seed)
    make_oval(weights)
    path = folder / f"{NAME}.safetensors"
    save_file(weights, path, metadata={"format": "pt"})
    path.with_suffix(".json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return path
