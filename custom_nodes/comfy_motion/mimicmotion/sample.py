"""Denoising a chunk: core's Euler over core's model, with poses, tiles and guidance by frame.

Core loads the model, makes room, applies LoRA and hooks, and decides in `calc_cond_batch` whether the guidance pair
fits into memory as one batch. Ours is what it is asked for: the tiles of each step, their poses, and the sum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.conds
import comfy.model_management
import comfy.patcher_extension
import comfy.samplers
import torch

from .conditioning import karras_sigmas
from .tiles import Fusion, Tile, plan_tiles

_POSES = "comfy_motion_mimicmotion"
_POSITIVE = 0  # place of the positive conditioning in what calc_cond_batch is given
Callback = Callable[[int, torch.Tensor, torch.Tensor, int], None]


@dataclass(frozen=True)
class Settings:
    """How a chunk is denoised; what the published config calls steps, guidance, tile_size, frames_overlap."""

    steps: int = 25
    min_guidance: float = 2.0
    max_guidance: float = 2.0
    tile: int = 72
    overlap: int = 6


def guidance_scale(settings: Settings, frames: int) -> torch.Tensor:
    """[frames, 1, 1, 1], from min to max over the frames, frame 0 included, the same in every step (fact 7)."""
    return torch.linspace(settings.min_guidance, settings.max_guidance, frames)[:, None, None, None]


def denoise(
    model: Any,
    conditions: tuple[list, list],
    poses: torch.Tensor,
    noise: torch.Tensor,
    settings: Settings,
    callback: Callback | None = None,
    seed: int = 0,
) -> torch.Tensor:
    """Latents [frames, 4, h/8, w/8] for the VAE, float32.

    conditions: (positive, negative) of one picture. poses: PoseNet's latents [frames, channels, h/8, w/8], frame 0
    the reference's. noise: normal, [frames, 4, h/8, w/8]. callback(step, denoised, x, steps) after each step. seed:
    for LoRA and other hooks of core's; the noise is drawn already. ComfyUI's interrupt passes through.
    """
    import comfy.utils

    patched = model.clone()
    patched.set_model_input_block_patch(add_poses)
    guider = TiledGuider(patched, poses, settings)
    patched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING, _POSES, guider.room_for_a_tile)
    guider.set_conds(*conditions)
    guider.set_cfg(settings.max_guidance)
    sampler, sigmas = comfy.samplers.sampler_object("euler"), karras_sigmas(model, settings.steps)
    quiet = not comfy.utils.PROGRESS_BAR_ENABLED
    return guider.sample(
        noise, torch.zeros_like(noise), sampler, sigmas, callback=callback, disable_pbar=quiet, seed=seed
    )


def add_poses(features: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    """Core's input block patch: adds the pose latents to what the first convolution makes (fact 8).

    Core keeps the result as the first skip connection too. The batch is [tile frames of one half, then the other];
    the negative half gets none (fact 7).
    """
    poses, tile = options.get(_POSES, (None, None))
    if poses is None or options["block"] != ("input", 0):
        return features
    halves = options["cond_or_uncond"]
    for half, part in zip(halves, features.chunk(len(halves)), strict=True):
        if half == _POSITIVE:
            part[:1] += poses[:1].to(part)
            part[1:] += poses[tile.first : tile.stop].to(part)
    return features


class TiledGuider(comfy.samplers.CFGGuider):
    """Core's guider, for more frames than the model sees at a time."""

    def __init__(self, model: Any, poses: torch.Tensor, settings: Settings):
        super().__init__(model)
        self._poses, self._settings = poses, settings
        self._tiles = plan_tiles(len(poses), settings.tile, settings.overlap)

    def room_for_a_tile(self, executor: Callable, model: Any, noise_shape: Any, *args: Any, **kwargs: Any) -> Any:
        """Core asks for the memory of all frames it is given; here they are never denoised together."""
        return executor(model, [self._tiles[0].length, *noise_shape[1:]], *args, **kwargs)

    def predict_noise(self, x: torch.Tensor, timestep: torch.Tensor, model_options: dict | None = None, seed=None):
        """The picture without noise, [frames, 4, h, w]: tiles fused, then guided (fact 6)."""
        options = dict(model_options or {})
        guided = max(self._settings.min_guidance, self._settings.max_guidance) > 1
        fused = [Fusion(x) for _ in range(1 + guided)]
        for tile in self._tiles:
            comfy.model_management.throw_exception_if_processing_interrupted()
            positive, negative = (_for_tile(self.conds[side], tile) for side in ("positive", "negative"))
            told = options.get("transformer_options", {}) | {_POSES: (self._poses, tile)}
            said = comfy.samplers.calc_cond_batch(
                self.inner_model,
                [positive, negative] if guided else [positive],
                tile.of(x),
                tile.of(timestep),
                options | {"transformer_options": told},
            )
            for fusion, values in zip(fused, said, strict=True):
                fusion.add(tile, values)
        shown = fused[_POSITIVE].mean()
        if not guided:  # the published pipeline fails here (fact 10)
            return shown
        scale = guidance_scale(self._settings, len(x)).to(x)
        sides = self.conds["positive"], self.conds["negative"]
        blank = fused[1].mean()
        return comfy.samplers.cfg_function(self.inner_model, shown, blank, scale, x, timestep, options, *sides)


def _for_tile(conds: list[dict], tile: Tile) -> list[dict]:
    """Core's processed conditioning of the whole chunk, told that it is of the tile's number of frames."""
    changed = []
    for cond in conds:
        told = dict(cond["model_conds"])
        told["c_concat"] = comfy.conds.CONDNoiseShape(told["c_concat"].cond[: tile.length])  # alike in all frames
        told["num_video_frames"] = comfy.conds.CONDConstant(tile.length)
        changed.append(cond | {"model_conds": told})
    return changed
