"""MultiTalk's and InfiniteTalk's weights: only they are loaded, whatever else lies in the folder.

Core's loader of model patches takes seven kinds of files and tells them apart after reading all of one; one that it
does not know fails with a name error. Here the header of the file, some kilobytes, is held against core's own network
first. Which of the three files it is cannot be told from the tensors: it is read from the file's name.
"""

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import MotionError
from .conditioning import INFINITETALK, MULTITALK

FOLDER = "model_patches"
ATTACHMENT = "comfy_motion_talk"
_LONGEST_HEADER = 100_000_000
_TAKE = (
    "Put multitalk.safetensors of MeiGen-AI/MeiGen-MultiTalk, or wan2.1_infiniteTalk_single_fp16.safetensors or "
    "wan2.1_infiniteTalk_multi_fp16.safetensors of Comfy-Org/Wan_2.1_ComfyUI_repackaged, into models/model_patches."
)
_PROJECTION, _BLOCK = "audio_proj.proj1.weight", re.compile(r"blocks\.(\d+)\.audio_cross_attn\.proj\.weight")
_OTHERS = {  # a tensor of it: what the file is
    "controlnet_patch_embedding.weight": "it is Uni3C's ControlNet",
    "controlnet_blocks.0.y_rms.weight": "it is a ControlNet of Qwen Image",
    "control_all_x_embedder.2-1.weight": "it is a ControlNet of Z-Image",
    "lllite_conditioning1.conv1.weight": "it is a ControlNet-LLLite",
    "feature_embedder.mid_layer_norm.bias": "it is USO's style projector",
    "patch_embedding.weight": "it is a whole video model of Wan",
    "model.diffusion_model.patch_embedding.weight": "it is a whole video model of Wan",
    "encoder.layers.0.attention.k_proj.weight": "it is an audio encoder (models/audio_encoders)",
    "wav2vec2.encoder.layers.0.attention.k_proj.weight": "it is an audio encoder (models/audio_encoders)",
}

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class TalkModel:
    """Which weights a loaded patch has."""

    name: str
    loop: str  # conditioning.MULTITALK or INFINITETALK
    max_voices: int


def kind_of(name: str) -> TalkModel:
    """Which weights a file of this name has: "infinite" in it is InfiniteTalk's, and with "single" for one voice."""
    small = Path(name).name.lower()
    infinite = "infinite" in small
    return TalkModel(name, INFINITETALK if infinite else MULTITALK, 1 if infinite and "single" in small else 2)


def kind_of_patch(model_patch: Any) -> TalkModel:
    """What `load_multitalk` noted on the patch; one from core's own loader counts as MultiTalk's.

    Raises MotionError model_file where the patch is not MultiTalk's at all.
    """
    found = model_patch.attachments.get(ATTACHMENT)
    if found is not None:
        return found
    network = type(model_patch.model).__name__
    if not hasattr(model_patch.model, "audio_proj"):
        raise MotionError("model_file", f"The model patch is {network}, not MultiTalk's.", _TAKE)
    return TalkModel(network, MULTITALK, 2)


def load_multitalk(name: str) -> Any:
    """Core's ModelPatcher of the patch, `TalkModel` attached under ATTACHMENT.

    name: in the folder model_patches. Raises MotionError model_file, before any weight is read, saying what the file is
    instead.
    """
    import folder_paths
    from comfy_extras.nodes_model_patch import ModelPatchLoader

    path = folder_paths.get_full_path(FOLDER, name)
    if path is None:
        raise MotionError("model_file", f"There is no file {name} in models/{FOLDER}.", _TAKE)
    check(read_header(Path(path)), name)
    try:
        (patcher,) = ModelPatchLoader().load_model_patch(name)
    except (OSError, RuntimeError, ValueError) as error:
        raise _refused(name, f"ComfyUI cannot load it ({str(error)[:300]})") from None
    patcher.set_attachments(ATTACHMENT, kind_of(name))
    return patcher


def read_header(path: Path) -> Shapes:
    """{tensor: shape} of a safetensors file, from its first kilobytes. Raises MotionError model_file for others."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LONGEST_HEADER:
                raise ValueError("it does not begin with a header of tensor names")
            header = json.loads(file.read(length))
        shapes = {key: tuple(entry["shape"]) for key, entry in header.items() if key != "__metadata__"}
        end = max((entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"), default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise _refused(path.name, f"it is no safetensors file ({str(error)[:200]})") from None
    missing = 8 + length + end - path.stat().st_size
    if missing > 0:
        raise _refused(path.name, f"it is cut off, {missing} bytes are missing: the download did not finish")
    return shapes


def check(shapes: Shapes, name: str) -> None:
    """Raises MotionError model_file unless `shapes` are those of core's MultiTalkModelPatch, no more and no less."""
    if _PROJECTION not in shapes or not any(_BLOCK.fullmatch(key) for key in shapes):
        raise _refused(name, _what(shapes))
    expected = _expected(shapes)
    missing, unknown = sorted(expected.keys() - shapes.keys()), sorted(shapes.keys() - expected.keys())
    if missing:
        raise _refused(name, f"{missing[0]} and {len(missing) - 1} more of its tensors are missing")
    if unknown:
        raise _refused(name, f"{unknown[0]} and {len(unknown) - 1} more of its tensors are not MultiTalk's")
    for key, shape in expected.items():
        if shapes[key] != shape:
            raise _refused(name, f"{key} is {list(shapes[key])} and must be {list(shape)}")


def _expected(shapes: Shapes) -> Shapes:
    """Core's network of the file's widths, without numbers.

    On torch's own layers: with its dynamic memory on a GPU, core's have no weights before a file is loaded into them.
    """
    from comfy_extras.nodes_model_patch import MultiTalkModelPatch

    def rows(name: str) -> int:
        return (shapes.get(name) or (0,))[0]

    network = MultiTalkModelPatch(
        intermediate_dim=rows(_PROJECTION),
        in_dim=rows("blocks.0.audio_cross_attn.proj.weight"),
        out_dim=rows("audio_proj.norm.weight"),
        device=torch.device("meta"),
        operations=torch.nn,
    )
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def _what(shapes: Shapes) -> str:
    """What a file without MultiTalk's parts is, in words."""
    if _PROJECTION in shapes:
        return "it holds the audio projection and no attention blocks"
    for key, words in _OTHERS.items():
        if key in shapes:
            return words
    some = ", ".join(sorted(shapes)[:3])
    return f"it has {len(shapes)} tensors ({some or 'none'}), none of MultiTalk's"


def _refused(name: str, seen: str) -> MotionError:
    return MotionError("model_file", f"{name} is neither MultiTalk's nor InfiniteTalk's file: {seen}.", _TAKE)
