"""Nodes in front of a talk: MultiTalk's weights, its schedule, the picture at a size that the model knows."""

import folder_paths
from comfy_api.latest import io

from ..talk.fit_picture import AREAS, fit_picture
from ..talk.load import FOLDER, load_multitalk
from ..talk.schedule import talk_sigmas

CATEGORY = "comfy-motion/multitalk"


class CMLoadMultiTalk(io.ComfyNode):
    """Core's ModelPatchLoader takes any model patch, and a wrong one fails in the middle of the sampling."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMLoadMultiTalk",
            display_name="Load MultiTalk",
            category=CATEGORY,
            description="Loads MultiTalk's or InfiniteTalk's weights. Any other file is refused by name before its "
            "weights are read. From the file's name follow the loop (InfiniteTalk's has 'infinite' in it) and how many "
            "voices it is for (InfiniteTalk's 'single' for one).",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=folder_paths.get_filename_list(FOLDER),
                    tooltip="multitalk.safetensors, wan2.1_infiniteTalk_single_fp16.safetensors or "
                    "wan2.1_infiniteTalk_multi_fp16.safetensors, in models/model_patches.",
                ),
            ],
            outputs=[io.ModelPatch.Output(display_name="model_patch")],
        )

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        return io.NodeOutput(load_multitalk(name))


class CMTalkSchedule(io.ComfyNode):
    """Core's schedulers end at 1 / steps before the shift; MultiTalk's published code at 1 / 1000."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMTalkSchedule",
            display_name="MultiTalk Schedule",
            category=CATEGORY,
            description="The noise levels of MultiTalk's published code: timesteps evenly from 1000 to 1, shifted, "
            "then 0. The model itself needs no shift node.",
            inputs=[
                io.Int.Input("steps", default=40, min=1, max=1000, tooltip="Denoising steps."),
                io.Float.Input(
                    "shift",
                    default=7.0,
                    min=0.01,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="How far the steps lean to high noise: 7 for 480p, 11 for 720p, 2 with a step-distilled "
                    "LoRA.",
                ),
            ],
            outputs=[io.Sigmas.Output(display_name="sigmas")],
        )

    @classmethod
    def execute(cls, steps: int, shift: float) -> io.NodeOutput:
        return io.NodeOutput(talk_sigmas(steps, shift))


class CMFitPicture(io.ComfyNode):
    """Core scales to a given size; here the size follows from the picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMFitPicture",
            display_name="Fit Picture",
            category=CATEGORY,
            description="Scales a picture to about 832x480 or 1280x720 pixels in all, in its own shape as far as sides "
            "in multiples of 16 allow, and cuts what is over evenly from both sides.",
            inputs=[
                io.Image.Input("image", tooltip="The people; the first picture is used."),
                io.Combo.Input(
                    "resolution", options=list(AREAS), default="480p", tooltip="480p: 399360 pixels; 720p: 921600."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image"),
                io.Int.Output(display_name="width", tooltip="Pixels."),
                io.Int.Output(display_name="height", tooltip="Pixels."),
            ],
        )

    @classmethod
    def execute(cls, image, resolution: str) -> io.NodeOutput:
        fitted = fit_picture(image, resolution)
        return io.NodeOutput(fitted, fitted.shape[2], fitted.shape[1])


NODES: list[type[io.ComfyNode]] = [CMLoadMultiTalk, CMTalkSchedule, CMFitPicture]
