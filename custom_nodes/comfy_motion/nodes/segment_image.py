"""Nodes that find objects in one image."""

from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io, ui

from ..errors import MotionError
from ..segment.drawn import draw_masks, write_masks
from ..segment.image import Segment, segment_image
from ..segment.model import Sam2
from ..segment.prompts import parse_prompt
from ..video.frames import to_float, to_uint8
from .metadata import metadata
from .types import SAM2, SEGMENTS

CATEGORY = "comfy-motion/segment"


class CMSegmentImage(io.ComfyNode):
    """Masks of the objects in an image, from boxes or points."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMSegmentImage",
            display_name="Segment Image",
            category=CATEGORY,
            description="One mask a box, or one from all points. The image is encoded once, however many there are.",
            inputs=[
                SAM2.Input("sam2", tooltip="SAM2, the same as for videos. fp32 gives the sharpest edges."),
                io.Image.Input("image", tooltip="One image; the masks are of its size."),
                io.String.Input(
                    "boxes",
                    default="",
                    tooltip="JSON [[x1, y1, x2, y2], ...] in pixels of the image, one box an object. Empty: points.",
                ),
                io.String.Input(
                    "points", default="", tooltip="JSON [[x, y], ...] in pixels of the image, all of one object."
                ),
                io.String.Input(
                    "point_labels",
                    default="",
                    tooltip="JSON [1, 0, ...], one label a point: 1 is on the object, 0 is not.",
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="masks", tooltip="One a box, in their order; one for all points."),
                SEGMENTS.Output(
                    display_name="segments",
                    tooltip="For each mask SAM2's score (0 to 1) and the tight box around it in pixels.",
                ),
            ],
        )

    @classmethod
    def execute(cls, sam2: Sam2, image: torch.Tensor, boxes: str, points: str, point_labels: str) -> io.NodeOutput:
        picture = to_uint8(_single(image))
        height, width = picture.shape[:2]
        masks, segments = segment_image(sam2, picture, parse_prompt(boxes, points, point_labels, width, height))
        return io.NodeOutput(masks.float(), segments)


class CMSaveMasks(io.ComfyNode):
    """Masks to PNGs, with their scores and boxes beside them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMSaveMasks",
            display_name="Save Masks",
            category=CATEGORY,
            description="Writes each mask to a grey 8-bit PNG of its size: 255 inside, 0 outside.",
            inputs=[
                io.Mask.Input("masks", tooltip="The masks, 0 to 1; above one half is inside."),
                SEGMENTS.Input("segments", tooltip="Score and box of each mask, from Segment Image."),
                io.String.Input("filename_prefix", default="masks/mask", tooltip="Folder and start of the names."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, masks: torch.Tensor, segments: list[Segment], filename_prefix: str) -> io.NodeOutput:
        if len(masks) != len(segments):
            raise MotionError(
                "invalid_value",
                f"There are {len(masks)} masks and {len(segments)} segments.",
                "Connect both outputs of the same Segment Image.",
            )
        height, width = masks.shape[1:]
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), width, height
        )
        paths = [Path(folder) / f"{name}_{counter + number:05}_.png" for number in range(len(masks))]
        write_masks(masks, paths, metadata(cls.hidden))
        saved = [ui.SavedResult(path.name, subfolder, io.FolderType.output) for path in paths]
        return io.NodeOutput(ui={"images": saved, "masks": segments})


class CMDrawMasks(io.ComfyNode):
    """The image with its masks drawn over it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMDrawMasks",
            display_name="Draw Masks",
            category=CATEGORY,
            description="Draws masks over their image: tinted, outlined and numbered from 1 in their order.",
            inputs=[
                io.Image.Input("image", tooltip="The image the masks belong to."),
                io.Mask.Input("masks", tooltip="The masks, of the image's size in pixels; above one half is inside."),
            ],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, masks: torch.Tensor) -> io.NodeOutput:
        picture = to_uint8(_single(image))
        if masks.shape[1:] != picture.shape[:2]:
            sizes = [f"{width}x{height}" for height, width in (masks.shape[1:], picture.shape[:2])]
            raise MotionError(
                "invalid_value",
                f"Masks and image are of different sizes: {sizes[0]} and {sizes[1]}.",
                "Connect the image that the masks were made of.",
            )
        return io.NodeOutput(to_float(draw_masks(picture, masks.cpu() > 0.5))[None])


def _single(image: torch.Tensor) -> torch.Tensor:
    """The only image of a batch, [h, w, 3]."""
    if len(image) != 1:
        raise MotionError("invalid_value", f"There are {len(image)} images.", "Connect one image at a time.")
    return image[0]


NODES: list[type[io.ComfyNode]] = [CMSegmentImage, CMSaveMasks, CMDrawMasks]
