"""Nodes of the avatar topic: Wan-Animate's conditioning, generation in windows, the encoded prompt."""

from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..avatar.animate import Generator, Plan, animate
from ..avatar.conditioning import Rules
from ..avatar.driving import DrivingVideos
from ..avatar.face_once import encode_face_once
from ..avatar.letterbox import letterbox
from ..avatar.prompt_cache import PromptCache
from ..clips.windows import SHORTEN
from ..video.segments import SegmentWriter
from .types import FRAMES, MASKS
from .wan_animate import CATEGORY, MAX_SIZE, CMWanAnimateConditioning, rule_inputs

SHIPPED_PROMPTS = "encoded_prompts"
folder_paths.add_model_folder_path(SHIPPED_PROMPTS, str(Path(folder_paths.models_dir) / SHIPPED_PROMPTS))


class CMCacheFaceMotion(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CMCacheFaceMotion",
            display_name="Encode Face Once",
            category=CATEGORY,
            description="Wan2.2 Animate encodes the face video in every step though it never changes. With this "
            "the encoder runs once a window; the result is the same to the last bit.",
            inputs=[io.Model.Input("model", tooltip="A Wan2.2 Animate model.")],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model) -> io.NodeOutput:
        return io.NodeOutput(encode_face_once(model))


class CMLetterbox(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CMLetterbox",
            display_name="Letterbox",
            category=CATEGORY,
            description="The whole picture on a black canvas of the video's size. The authors show CLIP vision the "
            "reference in this form (encode it with crop: none).",
            inputs=[
                io.Image.Input("image", tooltip="The reference picture."),
                io.Int.Input("width", default=1280, min=16, max=MAX_SIZE, step=16, tooltip="Pixels."),
                io.Int.Input("height", default=720, min=16, max=MAX_SIZE, step=16, tooltip="Pixels."),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image, width, height) -> io.NodeOutput:
        return io.NodeOutput(letterbox(image, width, height))


MADE_BY_MODELS = ("model", "positive", "negative", "vae", "clip_vision_output", "sigmas")


class CMAnimateWindows(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CMAnimateWindows",
            display_name="Animate in Windows",
            category=CATEGORY,
            description="Wan2.2 Animate on a driving video of any length, window after window; every finished window "
            "goes to disk, so memory does not grow with the length. As many frames come out as go in.",
            inputs=[
                io.Model.Input("model", lazy=True, tooltip="Wan2.2 Animate, with its LoRAs and its shift."),
                io.Conditioning.Input("positive", lazy=True, tooltip="Encoded prompt."),
                io.Conditioning.Input(
                    "negative", lazy=True, tooltip="Encoded negative prompt; not used when cfg is 1."
                ),
                io.Vae.Input("vae", lazy=True, tooltip="Wan 2.1 VAE."),
                io.ClipVisionOutput.Input("clip_vision_output", lazy=True, tooltip="Of the reference image."),
                io.Image.Input("reference_image", tooltip="The person that is to appear."),
                FRAMES.Input("pose", tooltip="Drawn poses, width x height pixels."),
                FRAMES.Input("face", tooltip="Face crops, 512x512 pixels, as many frames as pose."),
                FRAMES.Input("background", optional=True, tooltip="Driving video without the person; with masks."),
                MASKS.Input("masks", optional=True, tooltip="1 where the person goes; with background."),
                io.Sampler.Input("sampler", tooltip="How to sample (euler)."),
                io.Sigmas.Input("sigmas", lazy=True, tooltip="The noise levels, one more than the steps."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Noise of the first window; window n uses seed + n.",
                ),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Guidance scale; at 1 the negative prompt is not evaluated, which halves the time.",
                ),
                io.Int.Input("width", default=1280, min=16, max=MAX_SIZE, step=16, tooltip="Pixels, a multiple of 16."),
                io.Int.Input("height", default=720, min=16, max=MAX_SIZE, step=16, tooltip="Pixels, a multiple of 16."),
                io.Int.Input(
                    "length", default=77, min=5, max=1025, step=4, tooltip="Frames of a window, 4n+1; trained on 77."
                ),
                io.Int.Input("overlap", default=5, min=1, max=77, step=4, tooltip="Frames a window continues: 5 or 1."),
                io.Float.Input(
                    "color_match",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How far each window is brought to the colours of the one before: 0 not, 1 fully.",
                ),
                io.Combo.Input(
                    "shorten",
                    options=list(SHORTEN),
                    default=SHORTEN[0],
                    optional=True,
                    advanced=True,
                    tooltip="Windows that may be shorter than length. single: a video that fits into one; last: also "
                    "the last of several; never: always whole, filled by ping-pong.",
                ),
                *rule_inputs(),
            ],
            outputs=[FRAMES.Output(display_name="frames")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def check_lazy_status(cls, **inputs) -> list[str]:
        # By now the driving video has been looked at: one without a person, a face or a mask was refused before any
        # of these has had its model file opened.
        return [name for name in MADE_BY_MODELS if inputs.get(name) is None]

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        vae,
        clip_vision_output,
        reference_image,
        pose,
        face,
        sampler,
        sigmas,
        seed,
        cfg,
        width,
        height,
        length,
        overlap,
        color_match,
        background=None,
        masks=None,
        shorten=SHORTEN[0],
        **switches,
    ) -> io.NodeOutput:
        generator = Generator(model, positive, negative, vae, clip_vision_output, sampler, sigmas, cfg, seed)
        plan = Plan(width, height, length, overlap, color_match, shorten, Rules(**switches))
        driving = DrivingVideos(pose, face, background, masks)
        writer = SegmentWriter(width, height, pose.fps)
        return io.NodeOutput(animate(generator, reference_image, driving, plan, writer, cls.hidden.unique_id))


class CMEncodedPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CMEncodedPrompt",
            display_name="Encoded Prompt",
            category=CATEGORY,
            description="Gives an encoded prompt from disk and loads the text encoder only for one never seen before.",
            inputs=[
                io.String.Input("text", multiline=True, tooltip="The prompt."),
                io.Combo.Input(
                    "encoder",
                    options=folder_paths.get_filename_list("text_encoders"),
                    tooltip="The encoder's file: choose the one that the loader connected to clip loads.",
                ),
                io.Clip.Input(
                    "clip", optional=True, lazy=True, tooltip="Used only when the prompt is not on disk yet."
                ),
            ],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def check_lazy_status(cls, text, encoder, clip=None) -> list[str]:
        path = folder_paths.get_full_path_or_raise("text_encoders", encoder)
        missing = clip is None and prompt_cache().find(Path(path), text) is None
        return ["clip"] if missing else []

    @classmethod
    def execute(cls, text, encoder, clip=None) -> io.NodeOutput:
        path = Path(folder_paths.get_full_path_or_raise("text_encoders", encoder))
        cache = prompt_cache()
        conditioning = cache.find(path, text)
        if conditioning is None:
            if clip is None:
                raise ValueError(
                    f"This prompt was not encoded with {encoder} before and no text encoder is connected: "
                    "connect a loader (type wan) with that file to clip."
                )
            conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(text))
            cache.save(path, text, conditioning)
        return io.NodeOutput(conditioning)


def prompt_cache() -> PromptCache:
    """The cache of this ComfyUI: its own folder beside the user's settings, shipped prompts beside the models."""
    own = Path(folder_paths.get_user_directory()) / "comfy_motion" / "prompts"
    return PromptCache(own, [Path(path) for path in folder_paths.get_folder_paths(SHIPPED_PROMPTS)])


NODES = [CMWanAnimateConditioning, CMCacheFaceMotion, CMLetterbox, CMAnimateWindows, CMEncodedPrompt]
