"""Nodes that say which person in the picture has which voice, and draw it."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..errors import MotionError
from ..pose.models import PoseModels
from ..talk.draw_speakers import draw_speakers
from ..talk.find_people import people_in_picture, require_one_a_half, require_somebody
from ..talk.speakers import Speakers, from_masks, left_and_right, one_speaker
from ..talk.voices import Voices
from ..video.frames import to_float, to_uint8
from .talk_types import SPEAKERS, VOICES
from .types import POSE_MODELS

CATEGORY = "comfy-motion/multitalk"


class CMSpeakers(io.ComfyNode):
    """Binds voices to people, and refuses a picture that has not enough of them before a large model loads."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMSpeakers",
            display_name="Who Speaks",
            category=CATEGORY,
            description="Binds each voice to a person in the picture: by masks, or the first voice to the left half "
            "and the second to the right. Core's node passes no mask of the background; this one does, as published.",
            inputs=[
                io.Image.Input("image", tooltip="One image: the fitted picture, in the video's pixels."),
                POSE_MODELS.Input("pose_models", tooltip="The person detector among them counts the people."),
                VOICES.Input("voices", tooltip="One or two voices; only their number is used here."),
                io.Mask.Input(
                    "masks",
                    optional=True,
                    tooltip="The fitted picture's size in pixels, one mask a voice in their order, for example of "
                    "Segment Image with one box a person; above one half is inside. Without it, two voices are left "
                    "and right, 5 to 95 % of the height and of each half's width. Not used with one voice, as in "
                    "MultiTalk's published code: who then speaks, in a picture of several people, only the prompt can "
                    "say.",
                ),
            ],
            outputs=[SPEAKERS.Output(display_name="speakers", tooltip="Names and masks, for Talk and Draw Speakers.")],
        )

    @classmethod
    def execute(
        cls, image: torch.Tensor, pose_models: PoseModels, voices: Voices, masks: torch.Tensor | None = None
    ) -> io.NodeOutput:
        picture = _single(image)
        height, width = picture.shape[:2]
        try:
            people = people_in_picture(picture, pose_models)
        finally:
            pose_models.close()
        require_somebody(people, width, height)
        if voices.num_voices == 1:
            return io.NodeOutput(one_speaker(width, height))
        if masks is not None:
            # The count is not held against masks: they are the way out where the detector overlooks someone.
            return io.NodeOutput(from_masks(masks, voices.num_voices, width, height))
        require_one_a_half(people, width, height)
        return io.NodeOutput(left_and_right(width, height))


class CMDrawSpeakers(io.ComfyNode):
    """The picture with the speakers drawn over it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMDrawSpeakers",
            display_name="Draw Speakers",
            category=CATEGORY,
            description="Draws over the picture which person has which voice: each mask tinted, outlined and named.",
            inputs=[
                io.Image.Input("image", tooltip="One image: the picture the speakers were found in, of their size."),
                SPEAKERS.Input("speakers", tooltip="From Who Speaks. A single speaker's name is written, no mask."),
            ],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, speakers: Speakers) -> io.NodeOutput:
        picture = _single(image)
        height, width = picture.shape[:2]
        if (width, height) != (speakers.width, speakers.height):
            raise MotionError(
                "invalid_value",
                f"The picture is {width}x{height} pixels, the speakers' is {speakers.width}x{speakers.height}.",
                "Connect the image that Who Speaks was given.",
            )
        return io.NodeOutput(to_float(draw_speakers(picture, speakers))[None])


def _single(image: torch.Tensor) -> torch.Tensor:
    """The only image of a batch as uint8 [h, w, 3]."""
    if len(image) != 1:
        raise MotionError("invalid_value", f"There are {len(image)} pictures.", "Connect one picture.")
    return to_uint8(image[0])


NODES: list[type[io.ComfyNode]] = [CMSpeakers, CMDrawSpeakers]
