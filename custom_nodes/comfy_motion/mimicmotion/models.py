"""The two ONNX models of DWPose: YOLOX finds people, RTMPose ("dw-ll") finds 133 points on each of them."""

from typing import ClassVar

from ..pose.models import OnnxModel, PoseModels, fits

DETECTOR_INPUT = (640, 640)  # height, width
POSE_INPUT = (384, 288)
SPLIT = 2  # SimCC bins for each pixel of the pose model's input
NUM_ROWS = 8400  # YOLOX's anchors at 640x640
NUM_POINTS = 133


class DWPoseOnnx(OnnxModel):
    """One of DWPose's two files; `kind` is "detector" or "pose"."""

    wanted: ClassVar = {
        "detector": ("a YOLOX detector, input [1,3,640,640], output [1,8400,85]", "yolox_l.onnx"),
        "pose": (
            "a DWPose model, input [N,3,384,288], outputs [N,133,576] and [N,133,768]",
            "dw-ll_ucoco_384.onnx",
        ),
    }
    names: ClassVar = {"detector": "a YOLOX detector", "pose": "a DWPose model"}

    def recognise(self, inputs: list, outputs: list[list]) -> str:
        if fits(inputs, (None, 3, *DETECTOR_INPUT)):
            if fits(outputs[0], (None, NUM_ROWS, 85)):
                return "detector"
            return "a detector, but none of YOLOX's 8400 undecoded rows of 80 classes"
        if fits(inputs, (None, 3, *POSE_INPUT)) and len(outputs) == 2:
            bins = [(None, NUM_POINTS, SPLIT * side) for side in reversed(POSE_INPUT)]  # x, then y
            if all(fits(have, want) for have, want in zip(outputs, bins, strict=True)):
                return "pose"
        if fits(inputs, (None, 3, 256, 192)):
            return "a pose model for 192x256 pictures, not 288x384"
        return "another kind of model"


class DWPoseModels(PoseModels):
    """DWPose's detector and pose model."""

    onnx = DWPoseOnnx
