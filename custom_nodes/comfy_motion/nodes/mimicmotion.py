"""Nodes that move a dance onto a person: MimicMotion's model, and its run over a video of any length."""

import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..clips import keep
from ..clips.signature import comfyui_files, signature
from ..mimicmotion.chunked import DECODE_CHUNK, Dance, Models, Plan, dance
from ..mimicmotion.load import load_mimicmotion
from ..mimicmotion.sample import Settings
from .types import FRAMES

POSE_NET = io.Custom("CM_POSENET")  # mimicmotion.posenet.PoseNet
FOLDER, OTHER_FOLDER = "mimicmotion", "diffusion_models"
CATEGORY = "comfy-motion/mimicmotion"
_SUFFIXES = (".pth", ".pt", ".safetensors", ".sft")
_MADE_BY = ("model", "pose_net", "clip_vision", "vae")
_given_out = keep.GivenOut()

folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))


def _files(folder: str) -> list[str]:
    return [name for name in folder_paths.get_filename_list(folder) if name.endswith(_SUFFIXES)]


class CMLoadMimicMotion(io.ComfyNode):
    """One file, two networks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMLoadMimicMotion",
            display_name="Load MimicMotion",
            category=CATEGORY,
            description="Loads MimicMotion's UNet, as a model of ComfyUI's own Stable Video Diffusion, so that LoRA, "
            "offloading and attention nodes apply, and PoseNet. CLIP vision and VAE come from SVD XT's checkpoint.",
            inputs=[
                io.Combo.Input(
                    "weights",
                    options=list(dict.fromkeys([*_files(FOLDER), *_files(OTHER_FOLDER)])),
                    tooltip="MimicMotion_1-1.pth of tencent/MimicMotion, or its tensors as .safetensors, in "
                    "models/mimicmotion or models/diffusion_models.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model"), POSE_NET.Output(display_name="pose_net")],
        )

    @classmethod
    def execute(cls, weights: str) -> io.NodeOutput:
        path = folder_paths.get_full_path(FOLDER, weights)
        return io.NodeOutput(
            *load_mimicmotion(Path(path or folder_paths.get_full_path_or_raise(OTHER_FOLDER, weights)))
        )


class CMMimicMotion(io.ComfyNode):
    """Chunk after chunk, each kept on disk."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMMimicMotion",
            display_name="MimicMotion in Chunks",
            category=CATEGORY,
            description="The person of the reference dances the drawn poses, whatever their number. Made chunk by "
            "chunk, crossfaded at the seams; finished chunks are kept in ComfyUI's user folder, "
            "comfy_motion/kept/<name>, and are not made again when the same run is started once more.",
            inputs=[
                io.Model.Input("model", lazy=True, tooltip="Of Load MimicMotion."),
                POSE_NET.Input("pose_net", lazy=True, tooltip="Of Load MimicMotion."),
                io.ClipVision.Input("clip_vision", lazy=True, tooltip="Of SVD XT's checkpoint."),
                io.Vae.Input("vae", lazy=True, tooltip="Of SVD XT's checkpoint."),
                io.Image.Input("reference", tooltip="The person, at the size of the poses; sides in multiples of 8."),
                FRAMES.Input("reference_pose", tooltip="The reference's own pose, drawn: its first frame is used."),
                FRAMES.Input("pose", tooltip="The driving poses, fitted to the reference and drawn."),
                io.Int.Input("steps", default=25, min=1, max=200, tooltip="Denoising steps."),
                _guidance("min_guidance", "at the first frame of a chunk"),
                _guidance("max_guidance", "at the last frame of a chunk. Both 1: half the time, without guidance"),
                io.Float.Input(
                    "noise_aug_strength",
                    default=0.0,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    round=False,
                    tooltip="Noise on the reference, as the share of standard normal noise on values of -1..1.",
                ),
                io.Int.Input(
                    "seed",
                    default=42,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The same for every chunk: their backgrounds then match.",
                ),
                io.Int.Input(
                    "num_frames",
                    default=72,
                    min=4,
                    max=4096,
                    tooltip="Frames of a chunk, the reference in front of it counted; it is not shown. 72 is what the "
                    "model was trained on; more is denoised in tiles.",
                ),
                io.Int.Input(
                    "tile",
                    default=72,
                    min=2,
                    max=4096,
                    tooltip="Frames the model sees at a time, the reference among them.",
                ),
                io.Int.Input(
                    "frames_overlap",
                    default=6,
                    min=1,
                    max=4095,
                    tooltip="Frames by which neighbouring tiles overlap, the reference among them; only where a chunk "
                    "is longer than a tile.",
                ),
                io.Int.Input(
                    "crossfade",
                    default=8,
                    min=0,
                    max=2048,
                    tooltip="Frames that two chunks share and over which one becomes the other; at most half a chunk.",
                ),
                io.String.Input("name", default="dance", tooltip="Folder of the kept chunks: letters, digits, . _ -."),
                io.Int.Input(
                    "decode_chunk",
                    default=DECODE_CHUNK,
                    min=0,
                    max=4096,
                    optional=True,
                    advanced=True,
                    tooltip="Frames that the VAE decodes together; 8 as published. 0: as many as fit into memory.",
                ),
            ],
            outputs=[FRAMES.Output(display_name="frames")],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, name: str, **_) -> int:
        return _given_out.lost((cls.hidden.unique_id, name))

    @classmethod
    def check_lazy_status(cls, **inputs) -> list[str]:
        # By now the poses are there: a video or picture without a person was refused before a model file was opened.
        return [name for name in _MADE_BY if inputs.get(name) is None]

    @classmethod
    def execute(
        cls,
        model,
        pose_net,
        clip_vision,
        vae,
        reference,
        reference_pose,
        pose,
        steps: int,
        min_guidance: float,
        max_guidance: float,
        noise_aug_strength: float,
        seed: int,
        num_frames: int,
        tile: int,
        frames_overlap: int,
        crossfade: int,
        name: str,
        decode_chunk: int = DECODE_CHUNK,
    ) -> io.NodeOutput:
        settings = Settings(steps, min_guidance, max_guidance, tile, frames_overlap)
        plan = Plan(settings, seed, noise_aug_strength, num_frames, crossfade, decode_chunk)
        run = Dance(Models(model, pose_net, clip_vision, vae), reference, reference_pose, pose, plan)
        folder = Path(folder_paths.get_user_directory()) / "comfy_motion" / "kept" / keep.checked_name(name)
        key = cls.hidden.unique_id, name
        frames = dance(run, _made_by(cls.hidden), folder, key[0], lambda kept: _given_out.add(key, kept))
        return io.NodeOutput(frames)


def _guidance(name: str, where: str) -> io.Input:
    tooltip = f"How closely poses and reference are followed {where}."
    return io.Float.Input(name, default=2.0, min=1.0, max=100.0, step=0.1, round=0.01, tooltip=tooltip)


def _made_by(hidden: io.HiddenHolder) -> str | None:
    """One text for the models and all that was done to them; None where ComfyUI does not tell."""
    from comfyui_version import __version__

    try:
        inputs = (hidden.prompt or {})[hidden.unique_id]["inputs"]
        return "-".join(signature(hidden.prompt, inputs[name], comfyui_files, __version__) for name in _MADE_BY)
    except (KeyError, ValueError):
        return None


NODES: list[type[io.ComfyNode]] = [CMLoadMimicMotion, CMMimicMotion]
