"""Pose nodes: find a person's whole-body points, retarget, draw and crop the face."""

import folder_paths
from comfy_api.latest import io

from ..pose.detect import detect_pose
from ..pose.draw import PoseFrames
from ..pose.face import FaceFrames
from ..pose.models import PoseModels
from ..pose.retarget import retarget
from . import types
from .progress import progress

CATEGORY = "comfy-motion/pose"
ONNX_FOLDER = "comfy_motion_onnx"


def register_folder() -> str:
    """The name under which ComfyUI finds .onnx files in its "detection" folders.

    Core registers "detection" for torch suffixes only, and its own loader would offer, and fail on, every file if we
    added one there. So this is a second name for the same list of folders, extra_model_paths included; it is renewed
    at each use because another pack may put a new list in core's place.
    """
    folder_paths.folder_names_and_paths[ONNX_FOLDER] = (
        folder_paths.folder_names_and_paths["detection"][0],
        {".onnx"},
    )
    return ONNX_FOLDER


def make_room(size: int) -> None:
    """Asks ComfyUI to unload models until `size` bytes are free on the GPU: onnxruntime allocates behind its back."""
    import comfy.model_management as management

    management.free_memory(size, management.get_torch_device())


def onnx_inputs(detector: str, pose: str) -> list[io.Input]:
    """The inputs of a loader of two ONNX models; the tooltips say which files."""
    files = folder_paths.get_filename_list(register_folder())
    return [
        io.Combo.Input("detector", options=files, tooltip=f"{detector}, in models/detection."),
        io.Combo.Input("pose", options=files, tooltip=f"{pose}, in models/detection."),
        io.Combo.Input(
            "device",
            options=["auto", "cpu", "cuda"],
            default="auto",
            tooltip="auto = the GPU if onnxruntime can really use it. The log says which one runs.",
        ),
    ]


def onnx_paths(*names: str) -> list[str]:
    """Where these files are."""
    return [folder_paths.get_full_path_or_raise(register_folder(), name) for name in names]


class LoadPoseModels(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CMLoadPoseModels",
            display_name="Load Pose Models (YOLOv10, ViTPose)",
            category=CATEGORY,
            description="The ONNX person detector and whole-body pose model of Wan2.2 Animate's preprocessing.",
            inputs=onnx_inputs("YOLOv10m ONNX file", "ViTPose-H whole-body ONNX file"),
            outputs=[types.POSE_MODELS.Output(display_name="models")],
        )

    @classmethod
    def execute(cls, detector, pose, device) -> io.NodeOutput:
        return io.NodeOutput(PoseModels(*onnx_paths(detector, pose), device=device, make_room=make_room))


class DetectPose(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        point = {"default": -1.0, "min": -1.0, "max": 1.0, "step": 0.01}
        return io.Schema(
            node_id="CMDetectPose",
            display_name="Detect Pose",
            category=CATEGORY,
            description="133 whole-body points of one person in every frame: the largest, or the one under a point.",
            inputs=[
                types.FRAMES.Input("frames", tooltip="The video, or a picture as a video of one frame."),
                types.POSE_MODELS.Input("models"),
                io.Float.Input(
                    "point_x",
                    **point,
                    tooltip="A point on the person to follow, as a fraction of the width (0 = left, 1 = right). "
                    "-1 = the largest person.",
                ),
                io.Float.Input(
                    "point_y",
                    **point,
                    tooltip="The same as a fraction of the height (0 = top, 1 = bottom). -1 = the largest person.",
                ),
            ],
            outputs=[types.POSE.Output(display_name="pose")],
        )

    @classmethod
    def execute(cls, frames, models, point_x, point_y) -> io.NodeOutput:
        point = (point_x, point_y) if point_x >= 0 and point_y >= 0 else None
        try:
            return io.NodeOutput(detect_pose(frames, models, point, progress()))
        finally:
            models.close()


class RetargetPose(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CMRetargetPose",
            display_name="Retarget Pose",
            category=CATEGORY,
            description="Gives the driving pose the limb proportions of the person in the reference picture. "
            "For animating; replacing keeps the driving person's own.",
            inputs=[
                types.POSE.Input("pose", tooltip="The driving video's pose."),
                types.POSE.Input("reference_pose", tooltip="The reference picture's pose."),
            ],
            outputs=[types.POSE.Output(display_name="pose")],
        )

    @classmethod
    def execute(cls, pose, reference_pose) -> io.NodeOutput:
        return io.NodeOutput(retarget(pose, reference_pose))


class DrawPose(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        size = {"min": 16, "max": 8192, "step": 1}
        return io.Schema(
            node_id="CMDrawPose",
            display_name="Draw Pose",
            category=CATEGORY,
            description="Body and hands in the drawing style Wan2.2 Animate was trained on. Drawn when needed.",
            inputs=[
                types.POSE.Input("pose"),
                io.Int.Input(
                    "width",
                    default=1280,
                    **size,
                    tooltip="Pixels. At another size than the video's own, the drawing is letterboxed.",
                ),
                io.Int.Input("height", default=720, **size, tooltip="Pixels."),
            ],
            outputs=[types.FRAMES.Output(display_name="frames")],
        )

    @classmethod
    def execute(cls, pose, width, height) -> io.NodeOutput:
        return io.NodeOutput(PoseFrames(pose, width, height))


class FaceCrop(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CMFaceCrop",
            display_name="Face Crop",
            category=CATEGORY,
            description="512x512 crops around the face. Frames without a visible face take their neighbours' place.",
            inputs=[
                types.FRAMES.Input("frames", tooltip="The video the pose was found on."),
                types.POSE.Input("pose"),
                io.Float.Input(
                    "smooth",
                    default=0.2,
                    min=0.0,
                    max=5.0,
                    step=0.05,
                    tooltip="Seconds over which the crop's place and size are averaged, so that it does not tremble. "
                    "0 = each frame on its own, as the authors do.",
                ),
            ],
            outputs=[types.FRAMES.Output(display_name="face")],
        )

    @classmethod
    def execute(cls, frames, pose, smooth) -> io.NodeOutput:
        return io.NodeOutput(FaceFrames(frames, pose, smooth))


NODES = [LoadPoseModels, DetectPose, RetargetPose, DrawPose, FaceCrop]
