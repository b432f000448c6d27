"""Nodes that find the person in a video and cut them out."""

import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..segment.cutout import CutOut
from ..segment.grow import GrownMasks
from ..segment.model import PRECISIONS, Sam2
from ..segment.track import track_person
from .progress import progress
from .types import FRAMES, MASKS, POSE, SAM2

FOLDER = "sam2"
CATEGORY = "comfy-motion/segment"

folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))


class LoadSAM2(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        files = [name for name in folder_paths.get_filename_list(FOLDER) if name.endswith(".safetensors")]
        return io.Schema(
            node_id="CMLoadSAM2",
            display_name="Load SAM2",
            category=CATEGORY,
            description="Loads SAM 2 or 2.1, any of the four hiera sizes.",
            inputs=[
                io.Combo.Input(
                    "model",
                    options=files,
                    tooltip="A .safetensors file in models/sam2: model.safetensors of facebook/sam2.1-hiera-large, or "
                    "one with Meta's own names. A .json of the same name beside it is taken as its configuration.",
                ),
                io.Combo.Input(
                    "precision",
                    options=["auto", *PRECISIONS],
                    default="auto",
                    tooltip="Number format of the weights. auto: bf16 where the GPU has it, else fp32.",
                ),
            ],
            outputs=[SAM2.Output(display_name="sam2")],
        )

    @classmethod
    def execute(cls, model: str, precision: str) -> io.NodeOutput:
        return io.NodeOutput(Sam2.load(Path(folder_paths.get_full_path_or_raise(FOLDER, model)), precision))


class TrackPerson(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMTrackPerson",
            display_name="Track Person",
            category=CATEGORY,
            description="The mask of the person whose pose was detected, in every frame. SAM2 is prompted with eight "
            "body points on four to seven frames of every 400 and follows the person through the rest.",
            inputs=[
                FRAMES.Input("frames", tooltip="The video the pose was detected on."),
                POSE.Input(
                    "pose",
                    tooltip="The pose of Detect Pose, not a retargeted one: its points, in pixels of "
                    "the frames, are the prompts.",
                ),
                SAM2.Input("sam2"),
            ],
            outputs=[MASKS.Output(display_name="masks")],
        )

    @classmethod
    def execute(cls, frames, pose, sam2) -> io.NodeOutput:
        return io.NodeOutput(track_person(frames, pose, sam2, progress()))


class GrowMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMGrowMask",
            display_name="Grow Mask",
            category=CATEGORY,
            description="Dilates masks and fills the grid over their bounding box, as Wan2.2 Animate was trained on "
            "them. Frames with an empty mask stay empty.",
            inputs=[
                MASKS.Input("masks"),
                io.Int.Input(
                    "kernel",
                    default=7,
                    min=1,
                    max=255,
                    tooltip="Side in pixels of the square the mask grows by: 7 is 3 pixels each way and iteration.",
                ),
                io.Int.Input(
                    "iterations",
                    default=3,
                    min=0,
                    max=64,
                    tooltip="How often the mask grows: 3 times 7 is 9 pixels each way.",
                ),
                io.Int.Input(
                    "columns",
                    default=1,
                    min=1,
                    max=256,
                    tooltip="Columns of cells over the mask's bounding "
                    "box; a cell with any mask in it is filled. 1x1 fills the box.",
                ),
                io.Int.Input("rows", default=1, min=1, max=256, tooltip="Rows of cells over the mask's bounding box."),
            ],
            outputs=[MASKS.Output(display_name="masks")],
        )

    @classmethod
    def execute(cls, masks, kernel: int, iterations: int, columns: int, rows: int) -> io.NodeOutput:
        return io.NodeOutput(GrownMasks(masks, kernel, iterations, columns, rows))


class CutOutPerson(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMCutOut",
            display_name="Cut Out",
            category=CATEGORY,
            description="The background video: the frames with every masked pixel black.",
            inputs=[
                FRAMES.Input("frames", tooltip="The video the masks belong to."),
                MASKS.Input("masks", tooltip="One mask a frame, as large as the frames."),
            ],
            outputs=[FRAMES.Output(display_name="background")],
        )

    @classmethod
    def execute(cls, frames, masks) -> io.NodeOutput:
        return io.NodeOutput(CutOut(frames, masks))


NODES = [LoadSAM2, TrackPerson, GrowMask, CutOutPerson]
