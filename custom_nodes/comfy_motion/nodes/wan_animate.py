"""One window of Wan-Animate as a node, and the inputs it shares with the node that makes all windows."""

from comfy_api.latest import io

from ..avatar.conditioning import Rules, WindowPixels, condition_window, encode_reference, slice_video
from ..avatar.letterbox import FITS

CATEGORY = "comfy-motion/avatar"
MAX_SIZE = 16384  # pixels a side, core's own limit


def rule_inputs() -> list[io.Input]:
    """The five differences between the authors' input and core's, as advanced inputs."""

    def switch(name: str, tooltip: str) -> io.Input:
        text = f"{tooltip} On: as the authors; off: as core."
        return io.Boolean.Input(name, default=True, optional=True, advanced=True, tooltip=text)

    return [
        switch("mask_frame0_four_times", "Frame 0 fills four entries of the mask; off, the mask runs 3 frames early."),
        switch("overlap_stays_known", "The mask never reaches into the overlap."),
        switch("mask_top_left", "A latent pixel takes the mask's top left pixel of 8x8, not the middle one."),
        switch("ping_pong", "Past its end the driving video runs backwards and forwards again."),
        io.Combo.Input(
            "reference_fit",
            options=list(FITS),
            default=FITS[0],
            optional=True,
            advanced=True,
            tooltip="letterbox: the whole reference on black; crop: its middle, as core.",
        ),
    ]


class CMWanAnimateConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        frames = "frames, from the start of the driving video"
        return io.Schema(
            node_id="CMWanAnimateConditioning",
            display_name="Wan Animate Conditioning",
            category=CATEGORY,
            description="One window for Wan2.2 Animate, prepared as its authors do. Takes the place of core's "
            "WanAnimateToVideo and equals it with the advanced switches off.",
            inputs=[
                io.Conditioning.Input("positive", tooltip="Encoded prompt."),
                io.Conditioning.Input("negative", tooltip="Encoded negative prompt."),
                io.Vae.Input("vae", tooltip="Wan 2.1 VAE."),
                io.Int.Input("width", default=832, min=16, max=MAX_SIZE, step=16, tooltip="Pixels, a multiple of 16."),
                io.Int.Input("height", default=480, min=16, max=MAX_SIZE, step=16, tooltip="Pixels, a multiple of 16."),
                io.Int.Input("length", default=77, min=1, max=MAX_SIZE, step=4, tooltip="Frames of the window, 4n+1."),
                io.Int.Input("batch_size", default=1, min=1, max=4096, tooltip="Videos made at once."),
                io.ClipVisionOutput.Input("clip_vision_output", optional=True, tooltip="Of the reference image."),
                io.Image.Input("reference_image", optional=True, tooltip="The person; black when absent."),
                io.Image.Input("face_video", optional=True, tooltip=f"Face crops, {frames}; fitted to 512x512 pixels."),
                io.Image.Input("pose_video", optional=True, tooltip=f"Drawn poses, {frames}."),
                io.Int.Input(
                    "continue_motion_max_frames",
                    default=5,
                    min=1,
                    max=MAX_SIZE,
                    step=4,
                    tooltip="Frames of continue_motion that are used, its last ones; 4n+1. The authors use 1 or 5.",
                ),
                io.Image.Input("background_video", optional=True, tooltip=f"Video without the person, {frames}."),
                io.Mask.Input("character_mask", optional=True, tooltip=f"1 where the person goes, {frames}."),
                io.Image.Input("continue_motion", optional=True, tooltip="The frames made so far."),
                io.Int.Input(
                    "video_frame_offset",
                    default=0,
                    min=0,
                    max=1 << 24,
                    tooltip="Frames done so far: where the window begins, the overlap not counted.",
                ),
                *rule_inputs(),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Latent.Output(display_name="latent"),
                io.Int.Output(display_name="trim_latent", tooltip="Latents of the reference, to cut off in front."),
                io.Int.Output(display_name="trim_image", tooltip="Frames of the overlap, to cut off in front."),
                io.Int.Output(display_name="video_frame_offset", tooltip="For the next window."),
            ],
        )

    @classmethod
    def execute(
        cls,
        positive,
        negative,
        vae,
        width,
        height,
        length,
        batch_size,
        continue_motion_max_frames,
        video_frame_offset,
        clip_vision_output=None,
        reference_image=None,
        face_video=None,
        pose_video=None,
        background_video=None,
        character_mask=None,
        continue_motion=None,
        **switches,
    ) -> io.NodeOutput:
        rules, start = Rules(**switches), video_frame_offset
        if continue_motion is not None:
            continue_motion = continue_motion[-continue_motion_max_frames:]
            start = max(0, start - continue_motion.shape[0])
        if character_mask is not None and character_mask.shape[0] == 1:
            character_mask = character_mask.expand(start + length, -1, -1)
        videos = (pose_video, face_video, background_video, character_mask)
        pixels = WindowPixels(*(slice_video(v, start, length, rules.ping_pong) for v in videos))
        pixels.continue_motion = continue_motion
        if reference_image is not None:
            reference_image = reference_image[:length]
        window = condition_window(
            positive,
            negative,
            vae,
            encode_reference(vae, reference_image, width, height, rules.reference_fit),
            pixels,
            width=width,
            height=height,
            length=length,
            clip_vision_output=clip_vision_output,
            rules=rules,
            batch_size=batch_size,
        )
        latent = {"samples": window.latent}
        return io.NodeOutput(
            window.positive, window.negative, latent, window.trim_latent, window.trim_image, start + length
        )
