"""Nodes for Stable Video Diffusion: the start image, and the mask that says what moves."""

from comfy_api.latest import io

from ..svd.augment import augment_start
from ..svd.composite import CompositeFrames, check_mask
from .types import FRAMES

CATEGORY = "comfy-motion/svd"
MAX_SIZE = 16384  # pixels a side, core's own limit


def _size(name: str, default: int, step: int, tooltip: str, **more) -> io.Input:
    return io.Int.Input(name, default=default, min=0, max=MAX_SIZE, step=step, tooltip=tooltip, **more)


class CMAugmentStart(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMAugmentStart",
            display_name="Noise Augmentation",
            category=CATEGORY,
            description="The start image as SVD's authors prepare it: seeded noise, measured on -1..1. Core's noise "
            "takes no seed and is twice as strong, its CLIP sees the middle square only, and it shrinks without "
            "antialiasing. Goes behind SVD_img2vid_Conditioning with augmentation_level 0; with strength 0, antialias "
            "off and no clip_vision it changes nothing.",
            inputs=[
                io.Conditioning.Input("positive", tooltip="From SVD_img2vid_Conditioning with augmentation_level 0."),
                io.Conditioning.Input("negative", tooltip="From SVD_img2vid_Conditioning with augmentation_level 0."),
                io.Image.Input("image", tooltip="The start image, the same that SVD_img2vid_Conditioning has."),
                io.Vae.Input("vae", tooltip="SVD's VAE."),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="SVD's CLIP vision, to see the whole frame as the authors' does. Not connected: core's "
                    "embedding, of the picture's middle square, stays.",
                ),
                _size("width", 1024, 8, "Pixels, as in SVD_img2vid_Conditioning."),
                _size("height", 576, 8, "Pixels, as in SVD_img2vid_Conditioning."),
                io.Float.Input(
                    "noise_aug_strength",
                    default=0.02,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    round=False,
                    tooltip="Noise on the start image, as the share of its standard normal noise on values of -1..1; "
                    "the model is told. More lets the video leave the picture further.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Seed of this noise. It may be the sampler's: the numbers drawn are others.",
                ),
                io.Boolean.Input(
                    "antialias",
                    default=True,
                    optional=True,
                    advanced=True,
                    tooltip="Shrink with antialiasing. Off: as core, which keeps every n-th pixel of a photograph.",
                ),
            ],
            outputs=[io.Conditioning.Output(display_name="positive"), io.Conditioning.Output(display_name="negative")],
        )

    @classmethod
    def execute(
        cls,
        positive,
        negative,
        image,
        vae,
        width: int,
        height: int,
        noise_aug_strength: float,
        seed: int,
        clip_vision=None,
        antialias: bool = True,
    ) -> io.NodeOutput:
        conditioning, size = (positive, negative), (width, height)
        return io.NodeOutput(
            *augment_start(conditioning, image, vae, size, noise_aug_strength, seed, clip_vision, antialias)
        )


class CMCompositeMotion(io.ComfyNode):
    """The mask is checked while `frames` is still lazy: a wrong one is refused before anything is generated."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        early = "of the frames to come, in pixels: a mask that lies outside their part of the picture is then refused "
        early += "before they are generated. 0: only afterwards."
        return io.Schema(
            node_id="CMCompositeMotion",
            display_name="Composite Motion",
            category=CATEGORY,
            description="Puts SVD's frames back into the picture they were made from, at the picture's size: where the "
            "mask is white they are shown, with a soft edge inside it; where it is black the picture stands still, "
            "pixel for pixel. Without a mask the frames pass as they are.",
            inputs=[
                FRAMES.Input("frames", lazy=True, tooltip="The video, of the image's middle as core crops it."),
                io.Image.Input("image", tooltip="The start image, whole."),
                io.Mask.Input("mask", optional=True, tooltip="Of the image's size: white moves, black stays."),
                _size("width", 0, 1, "Of the result with a mask, pixels; 0: the image's own, made even."),
                _size("height", 0, 1, "Of the result with a mask, pixels; 0: the image's own, made even."),
                io.Int.Input(
                    "feather",
                    default=16,
                    min=0,
                    max=4096,
                    tooltip="Pixels of the result, inside the mask, over which the picture becomes the video.",
                ),
                _size("frame_width", 0, 8, f"Width {early}", optional=True, advanced=True),
                _size("frame_height", 0, 8, f"Height {early}", optional=True, advanced=True),
            ],
            outputs=[FRAMES.Output(display_name="frames")],
        )

    @classmethod
    def check_lazy_status(cls, image, mask=None, frames=None, frame_width=0, frame_height=0, **_) -> list[str]:
        if mask is not None:
            check_mask(image, mask, (frame_width, frame_height) if frame_width and frame_height else None)
        return ["frames"] if frames is None else []

    @classmethod
    def execute(
        cls,
        frames,
        image,
        width: int,
        height: int,
        feather: int,
        mask=None,
        frame_width: int = 0,
        frame_height: int = 0,
    ) -> io.NodeOutput:
        if mask is None:
            return io.NodeOutput(frames)
        return io.NodeOutput(CompositeFrames(frames, image, mask, (width, height), feather))


NODES = [CMAugmentStart, CMCompositeMotion]
