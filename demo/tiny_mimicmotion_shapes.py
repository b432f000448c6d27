"""Names and shapes of the tensors of a tiny MimicMotion file: the UNet of demo/tiny_svd.py as diffusers names it,
and PoseNet, whose only size that is not the published one is the UNet's width.
"""

import re

from .tiny_svd_shapes import TINY_LEVELS, UNET_WIDTH, unet_shapes
from .tiny_wan_shapes import Shapes

POSE_NET = ((3, 3, 3), (3, 16, 4), (16, 16, 3), (16, 32, 4), (32, 32, 3), (32, 64, 4), (64, 64, 3), (64, 128, 3))
"""(channels in, channels out, kernel) of the published layers."""

_NAMES = (
    (r"^time_embed\.", "time_embedding."),
    (r"^label_emb\.0\.", "add_embedding."),
    (r"^input_blocks\.0\.0\.", "conv_in."),
    (r"^out\.0\.", "conv_norm_out."),
    (r"^out\.2\.", "conv_out."),
    (r"^((?:time|add)_embedding\.|.*time_pos_embed\.)0\.", r"\1linear_1."),
    (r"^((?:time|add)_embedding\.|.*time_pos_embed\.)2\.", r"\1linear_2."),
    (r"^middle_block\.1\.", "mid_block.attentions.0."),
    (r"^middle_block\.0\.", "mid_block.resnets.0."),
    (r"^middle_block\.2\.", "mid_block.resnets.1."),
    (r"^(.*attentions\.\d\.)time_stack\.", r"\1temporal_transformer_blocks."),
    (r"^(.*resnets\.\d\.)time_stack\.", r"\1temporal_res_block."),
    (r"^(.*resnets\.\d\.)(in_|out_|emb_|skip_)", r"\1spatial_res_block.\2"),
    (r"in_layers\.0\.", "norm1."),
    (r"in_layers\.2\.", "conv1."),
    (r"emb_layers\.1\.", "time_emb_proj."),
    (r"out_layers\.0\.", "norm2."),
    (r"out_layers\.3\.", "conv2."),
    (r"skip_connection\.", "conv_shortcut."),
)
_NUMBERED = re.compile(r"^(input|output)_blocks\.(\d+)\.(\d)\.(op\.|conv\.)?")


def mimicmotion_shapes(levels: tuple[int, ...] = TINY_LEVELS) -> Shapes:
    """Everything in the file; `levels` of the UNet's four have attention."""
    shapes: Shapes = {f"unet.{diffusers_name(name)}": shape for name, shape in unet_shapes(levels).items()}
    for number, (narrow, wide, kernel) in enumerate(POSE_NET):
        layer = f"pose_net.conv_layers.{2 * number}"  # an activation stands behind each
        shapes |= {f"{layer}.weight": (wide, narrow, kernel, kernel), f"{layer}.bias": (wide,)}
    shapes |= {"pose_net.final_proj.weight": (UNET_WIDTH, 128, 1, 1), "pose_net.final_proj.bias": (UNET_WIDTH,)}
    return shapes | {"pose_net.scale": (1,)}


def diffusers_name(name: str) -> str:
    """core's name of a tensor of SVD's UNet in UNetSpatioTemporalConditionModel. The tests hold it to diffusers."""
    name = _numbered(name)
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _numbered(name: str) -> str:
    """Blocks that core counts through, counted by level."""
    found = _NUMBERED.match(name)
    if found is None or name.startswith("input_blocks.0."):
        return name
    number, part, resampler = int(found[2]), found[3], found[4]
    way = "down" if found[1] == "input" else "up"
    rest = name[found.end() :]
    if resampler:
        level = number // 3 - 1 if way == "down" else number // 3
        return f"{way}_blocks.{level}.{way}samplers.0.conv.{rest}"
    place = number - 1 if way == "down" else number
    kind = "attentions" if part == "1" else "resnets"
    return f"{way}_blocks.{place // 3}.{kind}.{place % 3}.{rest}"
