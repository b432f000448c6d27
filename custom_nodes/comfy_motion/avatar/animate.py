"""A person of any length of video, window after window.

For each window: its driving pictures are read, turned into the model's input, sampled, decoded, the overlap
cut off, the colour matched, and the new frames written to disk at once. What is held is one window, whatever
the length of the video: the picture reference is encoded once, the last frames of a window are carried over.

The frames a window continues are those the window before gave, after colour matching, in float as the VAE
decoded them: the authors hand them on without rounding to 8 bits too (wan/animate.py, `refer_t_pixel_values`).
Every window gets fresh noise, from seed + number of the window; the authors draw all from one generator.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from ..clips.decode import decode_window
from ..clips.progress import WindowProgress
from ..clips.windows import Window, plan_windows
from ..video.colour_match import match
from ..video.frames import Frames, Writer, to_uint8_by_pieces
from .conditioning import AUTHORS, Rules, WindowInput, condition_window, encode_reference
from .driving import DrivingVideos


@dataclass
class Generator:
    """The models of a run and how they are sampled."""

    model: Any
    positive: list
    negative: list
    vae: Any
    clip_vision_output: Any
    sampler: Any
    sigmas: torch.Tensor
    cfg: float = 1.0
    seed: int = 0

    @property
    def steps(self) -> int:
        return max(0, self.sigmas.shape[-1] - 1)

    def sample(self, window: WindowInput, seed: int, callback: Any) -> torch.Tensor:
        """Latents [1, 16, t, h/8, w/8] of one window; with cfg 1 the negative side is not evaluated."""
        import comfy.sample
        import comfy.samplers
        import comfy.utils

        guider = comfy.samplers.CFGGuider(self.model)
        if self.cfg == 1.0:
            guider.inner_set_conds({"positive": window.positive})
        else:
            guider.set_conds(window.positive, window.negative)
        guider.set_cfg(self.cfg)
        latent = comfy.sample.fix_empty_latent_channels(self.model, window.latent)
        noise = comfy.sample.prepare_noise(latent, seed)
        quiet = not comfy.utils.PROGRESS_BAR_ENABLED
        return guider.sample(noise, latent, self.sampler, self.sigmas, callback=callback, disable_pbar=quiet, seed=seed)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Float [t, h, w, 3] in 0..1."""
        return decode_window(self.vae, latents)


@dataclass(frozen=True)
class Plan:
    """The numbers of a run."""

    width: int = 1280
    height: int = 720
    length: int = 77
    overlap: int = 5
    color_match: float = 1.0
    shorten: str = "single"
    rules: Rules = field(default_factory=lambda: AUTHORS)


def animate(
    generator: Generator,
    reference_image: torch.Tensor,
    driving: DrivingVideos,
    plan: Plan,
    writer: Writer,
    node_id: Any,
) -> Frames:
    """All windows of the driving videos, in exactly their number of frames.

    Raises ValueError when an input does not fit the others; ComfyUI's interrupt passes through.
    """
    driving.check(plan.width, plan.height)
    windows = plan_windows(driving.num_frames, plan.length, plan.overlap, plan.shorten)
    progress = WindowProgress(generator.model, len(windows), generator.steps, node_id)
    for _window, frames in generate_windows(generator, reference_image, driving, plan, windows, progress):
        writer.append(to_uint8_by_pieces(frames))
        del frames  # or this window would still be held while the next one is made
    return writer.frames()


def generate_windows(
    generator: Generator,
    reference_image: torch.Tensor,
    driving: DrivingVideos,
    plan: Plan,
    windows: list[Window],
    progress: WindowProgress,
) -> Iterator[tuple[Window, torch.Tensor]]:
    """Each window with its new frames, float [keep, height, width, 3] in 0..1, in order."""
    import comfy.model_management

    reference_latent = encode_reference(
        generator.vae, reference_image, plan.width, plan.height, plan.rules.reference_fit
    )
    tail = None
    for window in windows:
        comfy.model_management.throw_exception_if_processing_interrupted()
        progress.begin(window)
        pixels = driving.window(window)
        pixels.continue_motion = tail
        prepared = condition_window(
            generator.positive,
            generator.negative,
            generator.vae,
            reference_latent,
            pixels,
            width=plan.width,
            height=plan.height,
            length=window.length,
            clip_vision_output=generator.clip_vision_output,
            rules=plan.rules,
            device=generator.vae.device,
        )
        del pixels
        progress.encoded()
        seed = (generator.seed + window.index) % 2**64
        samples = generator.sample(prepared, seed, progress.callback(prepared.trim_latent))
        trim = prepared.trim_latent
        del prepared
        images = generator.decode(samples[:, :, trim:])
        del samples
        progress.decoded()
        if tail is not None and plan.color_match > 0:
            match(images[: window.overlap], tail, plan.color_match).apply_(images)
        new = images[window.overlap : window.overlap + window.keep]
        tail = last_frames(tail, new, plan.overlap)
        del images
        yield window, new
        del new


def last_frames(before: torch.Tensor | None, new: torch.Tensor, count: int) -> torch.Tensor:
    """The last `count` frames of all made so far; a short window adds fewer than that."""
    if before is not None and new.shape[0] < count:
        new = torch.cat([before, new])
    return new[-count:].clone()
