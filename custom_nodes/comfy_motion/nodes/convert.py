"""Between our lazy types and ComfyUI's IMAGE and MASK, so that every node here works with every other pack's."""

import torch
from comfy_api.latest import io

from ..errors import MotionError
from ..video.frames import Frames, Masks, TensorFrames, TensorMasks, to_float, to_uint8
from ..video.timeline import exact_rate
from .types import FRAMES, MASKS

CATEGORY = "comfy-motion/video"
_CHUNK = 16


class CMFramesToImages(io.ComfyNode):
    """Lazy frames into memory, for nodes that want IMAGE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMFramesToImages",
            display_name="Frames to Images",
            category=CATEGORY,
            description="Reads a stretch of frames into memory as IMAGE: 11 MB for each frame of 1280x720.",
            inputs=[
                FRAMES.Input("frames", tooltip="The frames to read from."),
                io.Int.Input("start", default=0, min=0, max=2**31 - 1, tooltip="Number of the first frame, from 0."),
                io.Int.Input("count", default=0, min=0, max=2**31 - 1, tooltip="How many frames; 0 is all the rest."),
            ],
            outputs=[io.Image.Output(display_name="images")],
        )

    @classmethod
    def execute(cls, frames: Frames, start: int, count: int) -> io.NodeOutput:
        stop = min(start + count, frames.num_frames) if count else frames.num_frames
        if start >= stop:
            raise MotionError(
                "range_outside_video",
                f"Frame {start} is asked for, and the video has {frames.num_frames} frames, the first being 0.",
                f"Choose a start below {frames.num_frames}.",
            )
        images = torch.empty((stop - start, frames.height, frames.width, 3))
        for at in range(start, stop, _CHUNK):
            end = min(at + _CHUNK, stop)
            images[at - start : end - start] = to_float(frames.read(at, end))
        return io.NodeOutput(images)


class CMImagesToFrames(io.ComfyNode):
    """IMAGE as frames, 8 bit."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMImagesToFrames",
            display_name="Images to Frames",
            category=CATEGORY,
            description="Makes frames of images that are in memory, rounded to 8 bit; alpha is dropped.",
            inputs=[
                io.Image.Input("images", tooltip="The images, one a frame."),
                io.Float.Input("fps", default=24.0, min=1.0, max=240.0, step=0.001, tooltip="Frames a second."),
            ],
            outputs=[FRAMES.Output(display_name="frames")],
        )

    @classmethod
    def execute(cls, images: torch.Tensor, fps: float) -> io.NodeOutput:
        return io.NodeOutput(TensorFrames(to_uint8(images), exact_rate(fps)))


class CMMasksToMask(io.ComfyNode):
    """Lazy masks into memory, for nodes that want MASK."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMMasksToMask",
            display_name="Masks to Mask",
            category=CATEGORY,
            description="Reads all masks into memory as MASK, 1 inside and 0 outside.",
            inputs=[MASKS.Input("masks", tooltip="The masks, one a frame.")],
            outputs=[io.Mask.Output(display_name="mask")],
        )

    @classmethod
    def execute(cls, masks: Masks) -> io.NodeOutput:
        mask = torch.empty((masks.num_frames, masks.height, masks.width))
        for at in range(0, masks.num_frames, _CHUNK):
            end = min(at + _CHUNK, masks.num_frames)
            mask[at:end] = masks.read(at, end)
        return io.NodeOutput(mask)


class CMMaskToMasks(io.ComfyNode):
    """MASK as masks of 0 and 1."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMMaskToMasks",
            display_name="Mask to Masks",
            category=CATEGORY,
            description="Makes masks of a MASK that is in memory: inside where it is above 0.5.",
            inputs=[io.Mask.Input("mask", tooltip="The mask, one picture a frame.")],
            outputs=[MASKS.Output(display_name="masks")],
        )

    @classmethod
    def execute(cls, mask: torch.Tensor) -> io.NodeOutput:
        if mask.dim() == 2:
            mask = mask[None]
        return io.NodeOutput(TensorMasks((mask > 0.5).to(torch.uint8).cpu()))


NODES: list[type[io.ComfyNode]] = [CMFramesToImages, CMImagesToFrames, CMMasksToMask, CMMaskToMasks]
