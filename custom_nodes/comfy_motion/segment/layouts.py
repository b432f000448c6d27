"""What a SAM2 weight file is, told from its tensor names and shapes alone: size, version, and whose names.

Two layouts are in circulation. transformers' (facebook/sam2.1-hiera-*/model.safetensors, model type sam2_video) is
the one the model is built from; Meta's own names (Kijai/sam2-safetensors) are renamed to it. Sources: the library's
Sam2VideoModel, Meta's published YAML configurations and key names. Pure functions, no ComfyUI, no transformers.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

Shapes = Mapping[str, tuple[int, ...]]

PATCHES = "vision_encoder.backbone.patch_embed.projection.weight"
BLOCK = re.compile(r"vision_encoder\.backbone\.blocks\.(\d+)\.")
META_MARK = "image_encoder.trunk.patch_embed.proj.weight"

# What the hiera backbones differ in; everything else is the same in all four and the library's default.
BACKBONES: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 96,
        "blocks_per_stage": [1, 2, 7, 2],
        "global_attention_blocks": [5, 7, 9],
    },
    "small": {
        "hidden_size": 96,
        "blocks_per_stage": [1, 2, 11, 2],
        "global_attention_blocks": [7, 10, 13],
    },
    "base_plus": {
        "hidden_size": 112,
        "blocks_per_stage": [2, 3, 16, 3],
        "global_attention_blocks": [12, 16, 20],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "window_positional_embedding_background_size": [14, 14],
    },
    "large": {
        "hidden_size": 144,
        "blocks_per_stage": [2, 6, 36, 4],
        "global_attention_blocks": [23, 33, 43],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "window_size_per_stage": [8, 4, 16, 8],
    },
}


def detect_config(shapes: Shapes) -> dict[str, Any] | None:
    """The arguments of a Sam2VideoConfig for these tensors (transformers' names), or None if no hiera size fits.

    SAM 2.0 has the same four sizes; it lacks two small tensors that came with 2.1.
    """
    if PATCHES not in shapes:
        return None
    hidden = shapes[PATCHES][0]
    blocks = 1 + max((int(m[1]) for m in map(BLOCK.match, shapes) if m), default=-1)
    for backbone in BACKBONES.values():
        if (backbone["hidden_size"], sum(backbone["blocks_per_stage"])) == (hidden, blocks):
            channels = [hidden * 2**stage for stage in range(4)]
            return {
                "vision_config": {
                    "model_type": "sam2_vision_model",
                    "backbone_config": {
                        "model_type": "sam2_hiera_det_model",
                        "embed_dim_per_stage": channels,
                        **backbone,
                    },
                    "backbone_channel_list": channels[::-1],
                },
                "enable_temporal_pos_encoding_for_object_pointers": (
                    "temporal_positional_encoding_projection_layer.weight" in shapes
                ),
                "enable_occlusion_spatial_embedding": "occlusion_spatial_embedding_parameter" in shapes,
            }
    return None


def describe(shapes: Shapes) -> str:
    """What a file that is no SAM2 seems to be, for the error message."""
    names = list(shapes)
    marks = {
        "detector.": "a SAM 3 model",
        "image_encoder.blocks.": "a first generation SAM model",
        "vision_encoder.layers.": "a first generation SAM model",
        "model.diffusion_model.": "an image or video diffusion checkpoint",
        "blocks.0.self_attn.": "a Wan diffusion model",
        "text_model.": "a text encoder",
        "lora_": "a LoRA",
    }
    for mark, what in marks.items():
        if any(name.startswith(mark) for name in names):
            return what
    if PATCHES in shapes:
        return f"a SAM2 of no known size (patch embedding {shapes[PATCHES][0]} wide)"
    return (
        f"{len(names)} tensors, the first named {', '.join(sorted(names)[:3])}" if names else "a file without tensors"
    )


def _three_layers(match: re.Match) -> str:
    """Meta numbers the layers of its three-layer heads; transformers names the outer two."""
    return f"{match[1]}.{('proj_in', 'layers.0', 'proj_out')[int(match[2])]}."


def _downsampler(match: re.Match) -> str:
    """Meta's mask downsampler is one flat list: convolution, norm, activation, four times, then the last one."""
    number = int(match[1])
    if number == 12:
        return "mask_downsampler.final_conv."
    return f"mask_downsampler.layers.{number // 3}.{('conv', 'layer_norm')[number % 3]}."


# Applied in this order, each to the result of the ones before.
_RENAMES: list[tuple[str, Any]] = [
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".shared_embedding.positional_embedding"),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"\.gamma$", ".scale"),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv([12])\.", r".pointwise_conv\1."),
    (r"mask_downsampler\.encoder\.(\d+)\.", _downsampler),
    (r"\.norm(|\d|_final_attn)\.", r".layer_norm\1."),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (
        r"(object_pointer_proj|iou_prediction_head|pred_obj_score_head|output_hypernetworks_mlps\.\d+)\.layers\.(\d)\.",
        _three_layers,
    ),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
]
_POINT = re.compile(r"^prompt_encoder\.point_embeddings\.(\d)\.weight$")
_PROMPT_POSITIONS = "prompt_encoder.shared_embedding.positional_embedding"


def is_meta_layout(names: Mapping[str, Any]) -> bool:
    """True for a file with Meta's own tensor names."""
    return META_MARK in names


def from_meta(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights under transformers' names; unknown names pass unchanged, for the strict check to report.

    Meta keeps the four point embeddings apart and the random position matrix once; transformers keeps the
    embeddings in one table and the matrix in two places.
    """
    renamed: dict[str, torch.Tensor] = {}
    points: dict[int, torch.Tensor] = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        if match := _POINT.match(name):
            points[int(match[1])] = tensor
        else:
            renamed[name] = tensor
    if points:
        renamed["prompt_encoder.point_embed.weight"] = torch.cat([points[index] for index in sorted(points)])
    if _PROMPT_POSITIONS in renamed:
        renamed["shared_image_embedding.positional_embedding"] = renamed[_PROMPT_POSITIONS]
    return renamed
