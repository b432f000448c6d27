"""Names of SVD's UNet: from diffusers' layout, which MimicMotion's file has, to core's.

Both are the same network and the same tensors; only the names differ. diffusers numbers by block (down_blocks.0
holds two residual blocks and a downsampler), core counts layers through (input_blocks.1, 2, 3). Written from the two
module trees; for any number of levels of two residual blocks each (three on the way up).
"""

import re
from collections.abc import Iterable

_OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_PARTS = {"spatial_res_block": "", "temporal_res_block": "time_stack."}
_TIME = {"temporal_transformer_blocks": "time_stack", "linear_1": "0", "linear_2": "2"}
_BLOCK = re.compile(r"(down|mid|up)_blocks?(?:\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_ATTENTION = re.compile(r"(up_blocks\.\d+)\.attentions\.")
_PER_LEVEL = 3  # core's layers a level: two blocks and a downsampler down, three blocks up


def core_names(names: Iterable[str]) -> dict[str, str | None]:
    """{diffusers' name: core's name} without prefixes; None for a name that SVD's UNet does not have.

    Needs all names of the file: in core an upsampler stands behind the attention, if its level has one.
    """
    names = list(names)
    attentive = {found[1] for name in names if (found := _ATTENTION.match(name))}
    return {name: _core_name(name, attentive) for name in names}


def _core_name(name: str, attentive: set[str]) -> str | None:
    layer, _, kind = name.rpartition(".")
    if layer in _OUTSIDE:
        return f"{_OUTSIDE[layer]}.{kind}"
    found = _BLOCK.fullmatch(name)
    if found is None:
        return None
    way, level, part, number, rest = found.groups()
    if (way == "mid") != (level is None):
        return None
    place = _place(way, int(level or 0), part, int(number), f"{way}_blocks.{level}" in attentive)
    if part == "resnets":
        inside = _residual(rest)
    else:
        inside = _attention(rest) if part == "attentions" else _resampler(part, rest)
    return None if place is None or inside is None else f"{place}.{inside}"


def _place(way: str, level: int, part: str, number: int, attentive: bool) -> str | None:
    """Core's module of one of diffusers' blocks."""
    if way == "mid":
        places = {("resnets", 0): 0, ("attentions", 0): 1, ("resnets", 1): 2}
        place = places.get((part, number))
        return None if place is None else f"middle_block.{place}"
    if part == "downsamplers":
        return f"input_blocks.{_PER_LEVEL * (level + 1)}.0" if way == "down" and number == 0 else None
    if part == "upsamplers":
        behind = 2 if attentive else 1
        return f"output_blocks.{_PER_LEVEL * level + 2}.{behind}" if way == "up" and number == 0 else None
    if number >= (2 if way == "down" else 3):
        return None
    layer, inside = _PER_LEVEL * level + number, int(part == "attentions")
    return f"input_blocks.{layer + 1}.{inside}" if way == "down" else f"output_blocks.{layer}.{inside}"


def _residual(rest: str) -> str | None:
    if rest == "time_mixer.mix_factor":
        return rest
    part, _, inner = rest.partition(".")
    layer, _, kind = inner.partition(".")
    return f"{_PARTS[part]}{_RESIDUAL[layer]}.{kind}" if part in _PARTS and layer in _RESIDUAL else None


def _attention(rest: str) -> str:
    return ".".join(_TIME.get(word, word) for word in rest.split("."))


def _resampler(part: str, rest: str) -> str | None:
    if not rest.startswith("conv."):
        return None
    return rest if part == "upsamplers" else rest.replace("conv.", "op.", 1)
