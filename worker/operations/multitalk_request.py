"""The request of multitalk (seed 003): the contract's table (contracts.md), with the additions of issue 5.

Its defaults stand here and nowhere else; a test holds the pinned graphs to them.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from worker.operations import fields
from worker.operations import multitalk_speakers as who
from worker.operations.base import refusal
from worker.operations.fields import Link, NegativePrompt, OwnStore, Prompt, Request, Seed

AUDIO = ("audio_1", "audio_2")
MOTION_FRAMES = 9
"""Frames that a window takes over from the one before."""
TURBO = {"sampling_steps": 4, "guidance_scale": 1.0, "audio_guidance_scale": 2.0}
"""What the step-distilled LoRA is made for."""

Media = Annotated[str, Field(min_length=1)]


class MultiTalkRequest(Request):
    """`input` of a multitalk job. Coordinates in pixels of the picture as it is seen."""

    reference_image: Media | None = Field(
        None, repr=False, description="the one or two people, as a picture: its http(s) URL, or the picture as base64"
    )
    reference_image_url: Link | None = Field(None, description="or the http(s) URL of the picture")
    reference_image_minio_path: Link | None = Field(
        None, description="or the key of the picture in the worker's bucket"
    )
    audio_1: Media | None = Field(
        None,
        repr=False,
        description="the first voice, any sound file or a video with sound: its http(s) URL, or base64",
    )
    audio_1_url: Link | None = Field(None, description="or the http(s) URL of the first voice")
    audio_1_minio_path: Link | None = Field(None, description="or the key of the first voice in the worker's bucket")
    audio_2: Media | None = Field(
        None, repr=False, description="the second voice, for two people: its http(s) URL, or base64"
    )
    audio_2_url: Link | None = Field(None, description="or the http(s) URL of the second voice")
    audio_2_minio_path: Link | None = Field(None, description="or the key of the second voice in the worker's bucket")
    prompt: Prompt = Field(description="what the conversation looks like, at most 2000 characters")
    negative_prompt: NegativePrompt = Field(
        "bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, images, static, "
        "overall gray, worst quality, low quality, JPEG compression residue, ugly, incomplete, extra fingers, poorly "
        "drawn hands, poorly drawn faces, deformed, disfigured, misshapen limbs, fused fingers, still picture, messy "
        "background, three legs, many people in the background, walking backwards",
        description="MultiTalk's own; it counts only with a guidance_scale above 1",
    )
    audio_order: Literal["one_after_another", "together"] = Field(
        "one_after_another", description="two voices: the second begins when the first has ended, or both at once"
    )
    speakers: who.Places | None = Field(
        None, description="two voices: who has which, [[x1, y1, x2, y2], ...] boxes or [[x, y], ...] points in pixels "
        "of the picture, audio_1's first; absent: audio_1 is the person on the left"
    )  # fmt: skip
    num_frames: int = Field(
        100, ge=5, le=201, description="frames of a window, rounded down to 4n+1, 25 a second; the video is as long as "
        "the sound, in as many windows as it takes"
    )  # fmt: skip
    resolution: Literal["480p", "720p"] = Field(
        "480p", description="area of the video, 832x480 or 1280x720 pixels in the shape of the picture"
    )
    fps: float = Field(
        8, ge=1, le=60, description="frames a second of the MP4; 25, the model's own, looks best; the sound stays"
    )
    sampling_steps: int = Field(20, ge=2, le=100, description="sampling steps; with turbo always 4")
    guidance_scale: float = Field(
        7.5, ge=1, le=20, description="how closely the prompt is followed; at 1 steps are faster; with turbo 1"
    )
    audio_guidance_scale: float = Field(
        4.0, ge=1, le=20, description="how closely lips follow the voice; at 1 steps are faster; with turbo 2"
    )
    turbo: bool = Field(False, description="4 steps with the step-distilled LoRA")
    seed: Seed = Field(42, description="the same seed, the same video")
    r2: OwnStore = None

    _most_seconds: float | None = PrivateAttr(None)
    """The worker's MAX_AUDIO_SECONDS, where it is known."""

    @model_validator(mode="before")
    @classmethod
    def _turbo_defaults(cls, values: Any) -> Any:
        turbo = isinstance(values, dict) and values.get("turbo") is True
        return {**TURBO, **values} if turbo else values

    @model_validator(mode="after")
    def _together(self) -> "MultiTalkRequest":
        fields.given(self, "reference_image", "picture")
        fields.given(self, "audio_1", "first voice")
        fields.given(self, "audio_2", "second voice", required=False)
        for name, value in TURBO.items():
            if self.turbo and getattr(self, name) != value:
                text = f"`{name}` is {getattr(self, name)} and `turbo` is true, which always means {value:g}."
                raise refusal("conflicting_fields", text, name, f"Leave `{name}` out, or `turbo`.")
        if self.speakers is not None:
            if len(self.audio_fields) == 1:
                text = "`speakers` says which of two people has which voice, and there is one voice."
                raise refusal("conflicting_fields", text, "speakers", "Leave `speakers` out, or send `audio_2`.")
            who.check_places(self.speakers, len(self.audio_fields))
        return self

    @property
    def most_seconds(self) -> float | None:
        """What the voices may have, the way they are ordered; None where only the worker knows."""
        return self._most_seconds

    def with_most(self, seconds: float) -> "MultiTalkRequest":
        """The same request to a worker that takes so many seconds of voices."""
        limited = self.model_copy()
        limited._most_seconds = seconds
        return limited

    @property
    def image_field(self) -> str:
        """The field that names the picture."""
        return fields.given(self, "reference_image") or ""

    @property
    def audio_fields(self) -> dict[str, str]:
        """{role: the field that names this voice}, of one or two."""
        found = {role: fields.given(self, role, required=False) for role in AUDIO}
        return {role: name for role, name in found.items() if name}

    @property
    def window_frames(self) -> int:
        """Frames of a window: the VAE packs the first alone and then four at a time."""
        return (self.num_frames - 1) // 4 * 4 + 1

    @property
    def motion_frames(self) -> int:
        """Frames that a window takes over; short windows have to have room for new ones."""
        return min(MOTION_FRAMES, self.window_frames - 4)
