"""Talking people of any length, window after window.

For each window: the frames it goes on from and the voices from its first frame on become the model's input, which is
sampled and decoded; the overlap is cut off, the colour matched, the new frames written to disk at once. What is held is
one window, whatever the length of the sound, and exactly as many frames come out as the voices have.

As in the published code the frames a window goes on from are handed on in float, as the VAE decoded them and after
colour matching, not rounded to 8 bits. Every window gets fresh noise, from seed + number of the window; the published
code draws all from one generator. Its results end three frames before the sound does; these do not.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from ..clips.decode import decode_window
from ..clips.progress import WindowProgress
from ..clips.windows import Window, plan_windows
from ..video.colour_match import match
from ..video.frames import Frames, Writer, to_uint8_by_pieces
from .conditioning import MULTITALK, Conditioner, WindowInput
from .guidance import Guidance


@dataclass(frozen=True)
class Plan:
    """The numbers of a run."""

    num_frames: int = 81
    motion_frames: int = 9
    loop: str = MULTITALK
    guidance: Guidance = field(default_factory=Guidance)
    audio_scale: float = 1.0
    color_match: float = 1.0
    seed: int = 42

    def windows(self, total: int) -> list[Window]:
        """The windows of voices of `total` frames, all of them whole."""
        return plan_windows(total, self.num_frames, min(self.motion_frames, self.num_frames - 4), "never")


@dataclass
class Models:
    """What makes a window."""

    model: Any
    model_patch: Any
    positive: list
    negative: list
    vae: Any
    clip_vision: Any
    sampler: Any
    sigmas: torch.Tensor

    @property
    def steps(self) -> int:
        return max(0, self.sigmas.shape[-1] - 1)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Float [t, h, w, 3] in 0..1."""
        return decode_window(self.vae, latents)


class Talk:
    """One run: its models, the people and what they say."""

    def __init__(self, models: Models, picture: torch.Tensor, features: Any, speakers: Any, plan: Plan):
        """picture: IMAGE, fitted, the first is used. features: VoiceFeatures. speakers: Speakers of the picture."""
        self.models, self.features, self.speakers, self.plan = models, features, speakers, plan
        picture = picture[:1, ..., :3].float()
        self._conditioner = Conditioner(
            plan.loop, models.positive, models.negative, models.vae, models.clip_vision, picture
        )

    def make(self, window: Window, tail: torch.Tensor | None, mirrored: bool, progress: WindowProgress) -> torch.Tensor:
        """All frames of the window, float [length, h, w, 3] in 0..1; the first ones show the moments of `tail`.

        tail: what the window before ended with, float [overlap, h, w, 3]; None for the first.
        mirrored: what is past the end of the sound is its end, backwards.
        """
        told = self._conditioner.window(window.length, tail)
        talking = self._talking(window, mirrored, told)
        progress.encoded()
        latents = self._sample(talking, told, (self.plan.seed + window.index) % 2**64, progress)
        del talking, told
        images = self.models.decode(latents)
        del latents
        progress.decoded()
        if tail is not None and self.plan.color_match > 0:
            match(images[: window.overlap], tail, self.plan.color_match).apply_(images)
        return images

    def _talking(self, window: Window, mirrored: bool, told: WindowInput) -> Any:
        """The model with this window's voices in it."""
        from .audio_windows import audio_tokens, silent_tokens, window_positions
        from .patches import TalkInput, attach

        models, features = self.models, self.features
        positions = window_positions(window.start, window.length, features.num_frames, mirrored)
        height, width = told.latent.shape[-2:]
        rows = self.speakers.token_rows(height // 2, width // 2) if self.speakers.num_speakers > 1 else None
        talk = TalkInput(
            audio_tokens(models.model_patch, features, positions),
            silent_tokens(models.model_patch, features, window.length),
            rows,
        )
        return attach(models.model, models.model_patch, talk, self.plan.guidance.silent, self.plan.audio_scale)

    def _sample(self, model: Any, told: WindowInput, seed: int, progress: WindowProgress) -> torch.Tensor:
        """Latents [1, 16, t, h/8, w/8] of one window, as the VAE takes them; the known ones as they were given."""
        import comfy.sample
        import comfy.utils

        from .guider import Motion, TalkGuider

        generator = torch.Generator().manual_seed(seed)
        latent = comfy.sample.fix_empty_latent_channels(model, told.latent)
        noise = torch.randn(latent.shape, generator=generator)
        motion = None if told.known is None else Motion(told.known, noised=self.plan.loop == MULTITALK)
        guider = TalkGuider(model, self.plan.guidance, motion, generator)
        guider.set_conds(told.positive, told.negative)
        quiet = not comfy.utils.PROGRESS_BAR_ENABLED
        latents = guider.sample(
            noise,
            latent,
            self.models.sampler,
            self.models.sigmas,
            callback=progress.callback(0),
            disable_pbar=quiet,
            seed=seed,
        )
        if told.known is not None:
            latents[:, :, : told.known.shape[2]] = told.known.to(latents)
        return latents


def talk(run: Talk, writer: Writer, node_id: Any) -> Frames:
    """All windows, in exactly as many frames as the voices have. ComfyUI's interrupt passes through."""
    import comfy.model_management

    windows = run.plan.windows(run.features.num_frames)
    progress = WindowProgress(run.models.model, len(windows), run.models.steps, node_id)
    tail = None
    for window in windows:
        comfy.model_management.throw_exception_if_processing_interrupted()
        progress.begin(window)
        images = run.make(window, tail, len(windows) > 1 and window is windows[-1], progress)
        tail = images[-run.plan.motion_frames :].float().clone()
        writer.append(to_uint8_by_pieces(images[window.overlap : window.overlap + window.keep]))
        del images  # or this window would still be held while the next one is made
    return writer.frames()
