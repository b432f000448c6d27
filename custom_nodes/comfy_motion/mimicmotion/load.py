"""MimicMotion's file: the UNet as a model of core's, and PoseNet.

The published `MimicMotion_1-1.pth` is a pickle of tensors, `unet.*` in diffusers' layout and `pose_net.*`. The UNet
is renamed and handed to core's own loader of diffusion models, so that core's choice of number format, its memory
management, offloading, LoRA and attention apply to it as to SVD. The published pipeline loads it with strict=False
(fact 11); here a file that lacks a tensor or has one too many is refused.

One number is not in the file: what its residual blocks' norms add to the variance. Core has Stability's 1e-5
everywhere; MimicMotion was trained in diffusers, which has 1e-6 on the way up and, on the way down, in levels with
attention. It is set as trained; the latents of the tests' runs are 4e-4 off without it and 5e-6 with it.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import MotionError
from .keys import core_names
from .posenet import PoseNet

_UNET, _POSE_NET = "unet.", "pose_net."
_TRAINED_EPS = 1e-6
_NORM = re.compile(r"((?:down|up)_blocks\.\d+)\.resnets\.\d+\.(?:spatial|temporal)_res_block\.norm[12]\.weight")
_TAKE = "Take MimicMotion_1-1.pth of tencent/MimicMotion on Hugging Face, or the same tensors as .safetensors."


def load_mimicmotion(path: Path) -> tuple[Any, PoseNet]:
    """(core's ModelPatcher of the UNet, PoseNet). Raises MotionError model_file, saying what the file is instead."""
    import comfy.sd

    parts = _parts(_tensors(path), path.name)
    names = core_names(parts[_UNET])
    unknown = sorted(name for name, known in names.items() if known is None)
    if unknown:
        raise _refused(path.name, f"{len(unknown)} tensors are not of SVD's UNet, unet.{unknown[0]} among them")
    pose_net = PoseNet.from_weights(parts[_POSE_NET])
    weights = {names[name]: tensor for name, tensor in parts[_UNET].items()}
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    try:
        model = comfy.sd.load_diffusion_model_state_dict(weights)
    except RuntimeError as error:  # tensors of another size than their neighbours
        raise _refused(path.name, f"ComfyUI cannot load its UNet ({str(error)[:300]})") from None
    if model is None:
        raise _refused(path.name, "ComfyUI does not know its UNet for Stable Video Diffusion's")
    expected = {name: tensor.shape for name, tensor in model.model.diffusion_model.state_dict().items()}
    if shapes != expected:
        different = sorted(expected.items() ^ shapes.items())
        raise _refused(path.name, f"its UNet is not whole: {different[0][0]} and {len(different) - 1} more")
    if pose_net.channels != unet_width(expected):
        raise _refused(path.name, f"its pose_net makes {pose_net.channels} channels for {unet_width(expected)}")
    set_norms_as_trained(model.model.diffusion_model, names)
    return model, pose_net


def set_norms_as_trained(unet: torch.nn.Module, names: Mapping[str, str | None]) -> None:
    """Gives core's UNet diffusers' norms, in place. names: {diffusers' name: core's name}."""
    for name, known in names.items():
        found = _NORM.fullmatch(name)
        if found and known and (name.startswith("up_") or f"{found[1]}.attentions.0.norm.weight" in names):
            norm = unet.get_submodule(known.removesuffix(".weight"))
            assert isinstance(norm, torch.nn.GroupNorm)
            norm.eps = _TRAINED_EPS


def unet_width(shapes: dict[str, torch.Size]) -> int:
    """Channels that come out of the UNet's first convolution."""
    return shapes["input_blocks.0.0.weight"][0]


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    """Everything in the file, read from disk as it is used; a pickle may hold tensors and nothing that runs."""
    import comfy.utils

    try:
        if path.suffix in (".safetensors", ".sft"):
            return comfy.utils.load_torch_file(str(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        said = str(error).strip().splitlines()[0]
        raise _refused(path.name, f"it is no pickle of tensors alone ({said[:200]})") from None
    except (OSError, ValueError, RuntimeError, EOFError) as error:
        raise _refused(path.name, f"it cannot be read ({str(error)[:200]})") from None
    loaded = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    return {name: value for name, value in loaded.items() if isinstance(value, torch.Tensor)}


def _parts(tensors: dict[str, torch.Tensor], name: str) -> dict[str, dict[str, torch.Tensor]]:
    """{prefix: tensors without it} of the file's two networks."""
    parts = {
        prefix: {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        for prefix in (_UNET, _POSE_NET)
    }
    if not all(parts.values()):
        raise _refused(name, _kind(tensors, parts))
    return parts


def _kind(tensors: dict[str, torch.Tensor], parts: dict[str, dict[str, torch.Tensor]]) -> str:
    """What a file without both networks is, in words."""
    if parts[_UNET]:
        return "it holds the UNet and no pose_net"
    if parts[_POSE_NET] or "conv_layers.0.weight" in tensors:
        return "it holds PoseNet and no UNet"
    if "model.diffusion_model.input_blocks.0.0.weight" in tensors:
        return "it is a whole checkpoint, as SVD's own; MimicMotion's UNet and pose_net are not in it"
    if any(known for known in core_names(tensors).values()) or "input_blocks.0.0.weight" in tensors:
        return "it holds a UNet alone and no pose_net"
    some = ", ".join(sorted(tensors)[:3])
    return f"it has {len(tensors)} tensors ({some or 'none'}), none of MimicMotion's"


def _refused(name: str, seen: str) -> MotionError:
    return MotionError("model_file", f"{name} is not MimicMotion's file: {seen}.", _TAKE)
