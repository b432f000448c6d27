"""A dance of any length, chunk after chunk, each kept on disk as soon as it is made.

A chunk is found again by a digest of all that shapes it: the models and what was done to them, settings, seed, the
reference and the chunk's own drawn poses. So a run that was cut off goes on after its last finished chunk, and one
whose end changed makes the end only. What is held is one chunk, whatever the length of the video; at the seams both
versions stay on disk and are crossfaded as they are read.

Every chunk has the same seed, as MimicMotion's published pipeline when it is called for each: the same noise under
the same reference makes the background of neighbouring chunks alike before they are crossfaded.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from ..clips import keep
from ..clips.decode import decode
from ..clips.progress import WindowProgress
from ..clips.windows import Window
from ..errors import MotionError
from ..scratch import scratch_folder
from ..video.chunks import SHORTEST, Chunk, crossfade, plan_chunks
from ..video.frames import Frames, to_uint8
from .conditioning import SHRINK, StartNoise, clip_embedding, conditions, draw_noise, picture_latent
from .posenet import PoseLatents, PoseNet
from .sample import Settings, denoise

DECODE_CHUNK = 8


@dataclass(frozen=True)
class Models:
    """What makes a chunk."""

    model: Any
    pose_net: PoseNet
    clip_vision: Any
    vae: Any


@dataclass(frozen=True)
class Plan:
    """The numbers of a run. num_frames counts the reference, which the model sees as frame 0 (fact 9)."""

    settings: Settings = field(default_factory=Settings)
    seed: int = 42
    noise_aug_strength: float = 0.0
    num_frames: int = 72
    crossfade: int = 8
    decode_chunk: int = DECODE_CHUNK

    def chunks(self, total: int) -> list[Chunk]:
        """The chunks of `total` driving frames; a crossfade longer than half a chunk is shortened to that."""
        length = self.num_frames - 1
        return plan_chunks(total, length, min(self.crossfade, length // 2))


class Dance:
    """The reference, its pose and the driving poses of one run, and the chunks made of them."""

    def __init__(self, models: Models, reference: torch.Tensor, reference_pose: Frames, poses: Frames, plan: Plan):
        """reference: IMAGE [n, h, w, 3], the first is used. Raises MotionError invalid_value for unequal sizes."""
        self.models, self.plan, self.poses = models, plan, poses
        self.picture = reference[:1, ..., :3]
        self.height, self.width = self.picture.shape[1:3]
        _check(self.width, self.height, reference_pose, poses)
        self._reference_pose = reference_pose.read(0, 1)
        self._conditions: tuple[list, list] | None = None
        self._latents: PoseLatents | None = None

    def digest(self, drawn: torch.Tensor, made_by: str) -> str:
        """64 hex digits over what shapes a chunk. drawn: its poses, uint8. made_by: the models' signature."""
        plan = asdict(self.plan)
        for name in ("num_frames", "crossfade"):  # they shape where chunks lie, and that shows in the poses
            del plan[name]
        digest = hashlib.sha256(json.dumps([made_by, plan, list(drawn.shape)], sort_keys=True).encode())
        for pixels in (to_uint8(self.picture), self._reference_pose, drawn):
            digest.update(pixels.contiguous().numpy().data)
        return digest.hexdigest()

    def make(self, chunk: Chunk, drawn: torch.Tensor, progress: WindowProgress) -> Frames:
        """The chunk's frames, in the prompt's scratch folder."""
        frames = 1 + chunk.num_frames
        noise = draw_noise(self.plan.seed, self.width, self.height, min(self.plan.settings.tile, frames))
        poses = self._pose_latents(chunk, drawn)
        told = self._told(noise)
        progress.encoded()
        after_step = progress.callback(0)
        latents = denoise(
            self.models.model,
            told,
            poses,
            noise.of(frames),
            self.plan.settings,
            lambda step, denoised, x, steps: after_step(step, denoised[1:], x, steps),  # frame 0 is the reference
            self.plan.seed,
        )
        del poses
        return decode(self.models.vae, {"samples": latents}, self.poses.fps, self.plan.decode_chunk, _interruptible)

    def _told(self, noise: StartNoise) -> tuple[list, list]:
        """The conditioning, the same in every chunk: the picture's noise is the first that a seed gives."""
        if self._conditions is None:
            strength = self.plan.noise_aug_strength
            embedding = clip_embedding(self.models.clip_vision, self.picture)
            latent = picture_latent(self.models.vae, self.picture, noise.picture, strength)
            self._conditions = conditions(embedding, latent, strength)
        return self._conditions

    def _pose_latents(self, chunk: Chunk, drawn: torch.Tensor) -> torch.Tensor:
        """[1 + frames, channels, h/8, w/8]: the reference's pose and the chunk's."""
        if self._latents is None:
            model = self.models.model
            to = model.load_device, model.model.get_dtype_inference()
            shared = max(SHORTEST, self.plan.crossfade)
            self._latents = PoseLatents(self.models.pose_net, self._reference_pose, *to, shared)
        return self._latents.of(chunk.start, drawn)


class ChunkedFrames(Frames):
    """The chunks as one video; where two overlap they are crossfaded as they are read."""

    def __init__(self, chunks: Sequence[Chunk], clips: Sequence[Frames], fps: Fraction):
        """clips: the frames of each chunk, skipped and faded ones included."""
        self.width, self.height, self.fps = clips[0].width, clips[0].height, Fraction(fps)
        self.num_frames = chunks[-1].stop
        self._chunks, self._clips = list(chunks), list(clips)

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.check_range(start, stop)
        parts = [torch.empty((0, self.height, self.width, 3), dtype=torch.uint8)]
        for number, chunk in enumerate(self._chunks):
            alone = chunk.shown + chunk.fade
            last = number + 1 == len(self._chunks)
            end = chunk.stop if last else self._chunks[number + 1].shown
            if start < alone and stop > chunk.shown:
                faded = crossfade(
                    self._frames(number - 1, chunk.shown, alone), self._frames(number, chunk.shown, alone)
                )
                parts.append(faded[max(start - chunk.shown, 0) : stop - chunk.shown])
            if max(start, alone) < min(stop, end):
                parts.append(self._frames(number, max(start, alone), min(stop, end)))
        return torch.cat(parts)

    def _frames(self, number: int, start: int, stop: int) -> torch.Tensor:
        first = self._chunks[number].start
        return self._clips[number].read(start - first, stop - first)


class _WithoutReference(Frames):
    """Frames from 1 on: the reference, frame 0, is dropped after decoding (fact 9)."""

    def __init__(self, frames: Frames):
        self._frames, self.num_frames = frames, frames.num_frames - 1
        self.width, self.height, self.fps = frames.width, frames.height, frames.fps

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.check_range(start, stop)
        return self._frames.read(start + 1, stop + 1)


def dance(
    run: Dance, made_by: str | None, folder: Path | None, node_id: Any, found: Callable[[Path], None] = lambda _: None
) -> Frames:
    """All chunks of the driving poses, those kept in `folder` taken from there. Exactly poses.num_frames frames.

    made_by: signature of the models. folder: of this run's kept chunks; None, or no signature, keeps them only as
    long as the prompt. found: told of each chunk's folder. ComfyUI's interrupt passes through, between steps too.
    """
    import comfy.model_management

    keeping = folder is not None and made_by is not None
    root = folder if keeping and folder is not None else scratch_folder("dance")
    chunks = run.plan.chunks(run.poses.num_frames)
    progress = WindowProgress(run.models.model, len(chunks), run.plan.settings.steps, node_id)
    clips: list[Frames] = []
    for index, chunk in enumerate(chunks):
        comfy.model_management.throw_exception_if_processing_interrupted()
        progress.begin(
            Window(index, chunk.start, chunk.num_frames, chunk.fade, chunk.stop - chunk.shown, run.poses.num_frames)
        )
        drawn = run.poses.read(chunk.start, chunk.stop)
        place = root / run.digest(drawn, made_by or "")
        clip = keep.find(place)
        if clip is None:
            decoded = run.make(chunk, drawn, progress)
            clip = keep.keep(place, _WithoutReference(decoded), _interruptible)
            _remove(decoded)
        keep.used(place)
        found(place)
        progress.decoded()
        clips.append(clip)
    return ChunkedFrames(chunks, clips, run.poses.fps)


def _remove(decoded: Frames) -> None:
    """Frees the disk of what was kept elsewhere."""
    for path in getattr(decoded, "paths", [])[:1]:
        shutil.rmtree(path.parent, ignore_errors=True)


def _interruptible(_done: int, _total: int) -> None:
    import comfy.model_management

    comfy.model_management.throw_exception_if_processing_interrupted()


def _check(width: int, height: int, reference_pose: Frames, poses: Frames) -> None:
    for name, frames in (("reference_pose", reference_pose), ("pose", poses)):
        if frames.num_frames < 1:
            raise MotionError("invalid_value", f"{name} has no frames.", "Connect drawn poses.")
        if (frames.width, frames.height) != (width, height):
            raise MotionError(
                "invalid_value",
                f"{name} is {frames.width}x{frames.height} pixels and the reference {width}x{height}.",
                "Draw the poses at the size of Fit Reference's picture.",
            )
    if width % SHRINK or height % SHRINK:
        near = f"{width // SHRINK * SHRINK}x{height // SHRINK * SHRINK}"
        raise MotionError(
            "invalid_value", f"The reference is {width}x{height} pixels; both must be multiples of 8.", f"Use {near}."
        )
