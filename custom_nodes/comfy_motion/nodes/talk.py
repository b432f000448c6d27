"""The node that makes people talk, window after window."""

from fractions import Fraction

from comfy_api.latest import io

from ..talk.checks import FPS, LONGEST, SHORTEST, check_features, check_model, check_people, check_windows
from ..talk.conditioning import LOOPS
from ..talk.guidance import Guidance
from ..talk.load import kind_of_patch
from ..talk.loop import Models, Plan, Talk, talk
from ..video.segments import SegmentWriter
from .talk_types import SPEAKERS, VOICE_FEATURES, VOICES
from .types import FRAMES

CATEGORY = "comfy-motion/multitalk"
_MADE_BY = ("model", "positive", "negative", "vae", "clip_vision", "voice_features")


class CMTalk(io.ComfyNode):
    """Core's WanInfiniteTalkToVideo makes one window, in InfiniteTalk's way for all weights."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMTalk",
            display_name="Talk in Windows",
            category=CATEGORY,
            description="One or two people of a picture talk, for as long as their voices last, at 25 frames a second. "
            "Window after window: every finished one goes to disk, so memory does not grow with the length.",
            inputs=[*_models(), *_people(), *_settings()],
            outputs=[FRAMES.Output(display_name="frames")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def check_lazy_status(
        cls, image, voices, speakers, num_frames, motion_frames, model_patch=None, **inputs
    ) -> list[str]:
        # What is wrong with the picture, the voices or the speakers is said before a model file is opened, and what
        # is wrong with the small model patch before the large model is.
        check_windows(voices.num_frames, num_frames, motion_frames)
        check_people(image, voices, speakers)
        if model_patch is None:
            return ["model_patch"]
        check_model(kind_of_patch(model_patch), voices)
        return [name for name in _MADE_BY if inputs.get(name) is None]

    @classmethod
    def execute(
        cls,
        model,
        model_patch,
        positive,
        negative,
        vae,
        clip_vision,
        image,
        voice_features,
        voices,
        speakers,
        sampler,
        sigmas,
        seed: int,
        guidance_scale: float,
        audio_guidance_scale: float,
        audio_scale: float,
        num_frames: int,
        motion_frames: int,
        color_match: float,
        loop: str,
    ) -> io.NodeOutput:
        kind = kind_of_patch(model_patch)
        check_features(voice_features, voices)
        plan = Plan(
            num_frames,
            motion_frames,
            kind.loop if loop == "auto" else loop,
            Guidance(guidance_scale, audio_guidance_scale),
            audio_scale,
            color_match,
            seed,
        )
        models = Models(model, model_patch, positive, negative, vae, clip_vision, sampler, sigmas)
        writer = SegmentWriter(image.shape[2], image.shape[1], Fraction(FPS))
        run = Talk(models, image, voice_features, speakers, plan)
        return io.NodeOutput(talk(run, writer, cls.hidden.unique_id))


def _models() -> list[io.Input]:
    return [
        io.Model.Input("model", lazy=True, tooltip="Wan2.1 I2V 14B, with its LoRAs; a shift node changes nothing."),
        io.ModelPatch.Input("model_patch", lazy=True, tooltip="Of Load MultiTalk."),
        io.Conditioning.Input("positive", lazy=True, tooltip="Encoded prompt."),
        io.Conditioning.Input(
            "negative", lazy=True, tooltip="Encoded negative prompt; not used when guidance_scale is 1."
        ),
        io.Vae.Input("vae", lazy=True, tooltip="Wan 2.1 VAE."),
        io.ClipVision.Input("clip_vision", lazy=True, tooltip="CLIP ViT-H, as Wan2.1 I2V takes it."),
    ]


def _people() -> list[io.Input]:
    return [
        io.Image.Input("image", tooltip="Of Fit Picture: the people, sides in multiples of 16 pixels."),
        VOICE_FEATURES.Input("voice_features", lazy=True, tooltip="Of Encode Voices."),
        VOICES.Input("voices", tooltip="Of Prepare Voices; as long as they are, so long is the video."),
        SPEAKERS.Input("speakers", tooltip="Of Who Speaks, found in the same fitted picture."),
    ]


def _settings() -> list[io.Input]:
    return [
        io.Sampler.Input("sampler", tooltip="How to sample; the published code has euler."),
        io.Sigmas.Input("sigmas", tooltip="Of MultiTalk Schedule: the noise levels, one more than the steps."),
        io.Int.Input(
            "seed",
            default=42,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="Noise of the first window; window n uses seed + n.",
        ),
        _scale("guidance_scale", 5.0, 1.0, 100.0, "How closely the prompt is followed. 1: never left out, one less of "
               "three evaluations a step."),
        _scale("audio_guidance_scale", 4.0, 1.0, 100.0, "How closely the voices are followed. 1: one evaluation less "
               "a step."),
        _scale("audio_scale", 1.0, 0.0, 10.0, "Strength of the voices' attention; 0 is the video model without "
               "MultiTalk, 1 as trained."),
        io.Int.Input(
            "num_frames",
            default=81,
            min=SHORTEST,
            max=LONGEST,
            step=4,
            tooltip="Frames of a window, 4n+1; trained on 81. The voices must be at least as long.",
        ),
        io.Int.Input(
            "motion_frames",
            default=9,
            min=1,
            max=LONGEST - 4,
            step=4,
            tooltip="Frames, 4n+1, that a window takes over from the one before; MultiTalk's published code has 25, "
            "InfiniteTalk's examples 9.",
        ),
        _scale("color_match", 1.0, 0.0, 1.0, "How far each window is brought to the colours of the one before: 0 not, "
               "1 fully."),
        io.Combo.Input(
            "loop",
            options=["auto", *LOOPS],
            default="auto",
            tooltip="How windows go on. multitalk: known frames noised to each step's level; infinitetalk: the picture "
            "known in every window, known frames clean; auto: as the weights' file name says.",
        ),
    ]  # fmt: skip


def _scale(name: str, default: float, lowest: float, most: float, tooltip: str) -> io.Input:
    return io.Float.Input(name, default=default, min=lowest, max=most, step=0.05, round=0.001, tooltip=tooltip)


NODES: list[type[io.ComfyNode]] = [CMTalk]
