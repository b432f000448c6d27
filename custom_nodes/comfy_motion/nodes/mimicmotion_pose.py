"""MimicMotion's pose nodes: find people with DWPose, fit them to the reference person, draw them; fit the picture."""

import logging

from comfy_api.latest import io

from ..mimicmotion.detect import detect
from ..mimicmotion.draw import DWPoseFrames
from ..mimicmotion.fit import fit
from ..mimicmotion.models import DWPoseModels
from ..mimicmotion.reference import ORIENTATIONS, fit_reference, what_was_cut
from . import types
from .pose import make_room, onnx_inputs, onnx_paths
from .progress import progress

CATEGORY = "comfy-motion/mimicmotion"
MAX_SIZE = 8192  # pixels a side

log = logging.getLogger(__name__)


class CMLoadDWPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMLoadDWPose",
            display_name="Load DWPose",
            category=CATEGORY,
            description="DWPose's ONNX person detector and whole-body pose model, as MimicMotion uses them.",
            inputs=onnx_inputs("yolox_l.onnx", "dw-ll_ucoco_384.onnx"),
            outputs=[types.DWPOSE_MODELS.Output(display_name="models")],
        )

    @classmethod
    def execute(cls, detector, pose, device) -> io.NodeOutput:
        return io.NodeOutput(DWPoseModels(*onnx_paths(detector, pose), device=device, make_room=make_room))


class CMDetectDWPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMDetectDWPose",
            display_name="Detect DWPose",
            category=CATEGORY,
            description="Body, face and hands of everybody in every frame. Refused if nobody is found in any frame.",
            inputs=[
                types.FRAMES.Input("frames", tooltip="The driving video, or the reference picture as one frame."),
                types.DWPOSE_MODELS.Input("models", tooltip="From Load DWPose."),
            ],
            outputs=[types.DWPOSES.Output(display_name="poses")],
        )

    @classmethod
    def execute(cls, frames, models) -> io.NodeOutput:
        try:
            poses = detect(frames, models, progress())
        finally:
            models.close()
        if poses.num_found < poses.num_frames:
            log.warning("nobody was found in %d of %d frames", poses.num_frames - poses.num_found, poses.num_frames)
        return io.NodeOutput(poses)


class CMFitDWPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        size = {"default": 0, "min": 0, "max": MAX_SIZE, "step": 1}
        return io.Schema(
            node_id="CMFitDWPose",
            display_name="Fit Pose",
            category=CATEGORY,
            description="Moves and scales the driving people to where the person of the reference picture stands: one "
            "fit for the whole video.",
            inputs=[
                types.DWPOSES.Input("poses", tooltip="The driving video's."),
                types.DWPOSES.Input("reference_poses", tooltip="The reference picture's, found at its final size."),
                io.Int.Input("width", **size, tooltip="Of the reference picture, pixels; 0: as it was looked at."),
                io.Int.Input("height", **size, tooltip="Of the reference picture, pixels; 0: as it was looked at."),
            ],
            outputs=[types.DWPOSES.Output(display_name="poses")],
        )

    @classmethod
    def execute(cls, poses, reference_poses, width, height) -> io.NodeOutput:
        return io.NodeOutput(fit(poses, reference_poses, width, height))


class CMDrawDWPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        size = {"min": 16, "max": MAX_SIZE, "step": 1}
        return io.Schema(
            node_id="CMDrawDWPose",
            display_name="Draw DWPose",
            category=CATEGORY,
            description="Body, face and hands in the style MimicMotion was trained on, the brighter the surer. Drawn "
            "when needed.",
            inputs=[
                types.DWPOSES.Input("poses", tooltip="From Fit Pose; of the reference picture, from Detect DWPose."),
                io.Int.Input("width", default=576, **size, tooltip="Pixels, as the reference picture's."),
                io.Int.Input("height", default=1024, **size, tooltip="Pixels, as the reference picture's."),
            ],
            outputs=[types.FRAMES.Output(display_name="frames")],
        )

    @classmethod
    def execute(cls, poses, width, height) -> io.NodeOutput:
        return io.NodeOutput(DWPoseFrames(poses, width, height))


class CMFitReference(io.ComfyNode):
    """Core's ImageScale crops first and then resizes floats to a whole size; this is the published order, on 8 bit."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMFitReference",
            display_name="Fit Reference",
            category=CATEGORY,
            description="The reference picture at MimicMotion's size: 9:16, cropped around the centre. Says so when "
            "more than a little was cut off.",
            inputs=[
                io.Image.Input("image", tooltip="The reference picture."),
                io.Int.Input(
                    "resolution",
                    default=576,
                    min=64,
                    max=2048,
                    step=64,
                    tooltip="The short side in pixels, a multiple of 64; the long one is 16/9 of it rounded down to a "
                    "multiple of 64. The model was trained at 576 (576x1024).",
                ),
                io.Combo.Input(
                    "orientation",
                    options=list(ORIENTATIONS),
                    default=ORIENTATIONS[0],
                    optional=True,
                    advanced=True,
                    tooltip="portrait: always upright. as the picture: the published code's rule, by which a square or "
                    "landscape picture gives a landscape video.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image"),
                io.Int.Output(display_name="width"),
                io.Int.Output(display_name="height"),
            ],
        )

    @classmethod
    def execute(cls, image, resolution, orientation=ORIENTATIONS[0]) -> io.NodeOutput:
        fitted = fit_reference(image, resolution, orientation)
        cut = what_was_cut(image, fitted)
        if cut:
            log.warning("%s", cut)
        height, width = fitted.shape[1:3]
        return io.NodeOutput(fitted, width, height, ui={"text": [cut]} if cut else None)


NODES = [CMLoadDWPose, CMDetectDWPose, CMFitDWPose, CMDrawDWPose, CMFitReference]
