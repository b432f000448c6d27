"""Nodes for bench/mimicmotion_gpu.py.

CMBenchSteps times the sampling loop of our node against the same weights run the original way: PoseNet for the whole
tile in every step, and the two halves of guidance one after the other (models: MimicMotion's published pipeline). It
takes our loop and changes the evaluation alone, so number format, attention and offloading are the same. Where
diffusers is installed its UNet, which the original has, is timed as well.
"""

import copy
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

import comfy.ops
import comfy.samplers
import torch

from .kernels import shares
from .measuring import now, ours, relative_l2, say, timed
from .mimicmotion_published import published_step


def one_by_one(net: Any, pictures: torch.Tensor | None) -> type:
    """Our guider with two evaluations a tile; `net` sees the tile's drawn poses in each step, None: as ours."""
    sample, tiles = ours("mimicmotion.sample"), ours("mimicmotion.tiles")

    class OneByOne(sample.TiledGuider):
        def predict_noise(self, x, timestep, model_options=None, seed=None):
            options, fused = dict(model_options or {}), [tiles.Fusion(x), tiles.Fusion(x)]
            for tile in self._tiles:
                poses = (self._poses, tile)
                if net is not None and pictures is not None:
                    poses = (net(pictures[tile.frames]), tiles.Tile(1, tile.length))
                told = options.get("transformer_options", {}) | {sample._POSES: poses}
                for side, place in (("negative", 1), ("positive", 0)):
                    halves = [None, None]
                    halves[place] = sample._for_tile(self.conds[side], tile)
                    given = self.inner_model, halves, tile.of(x), tile.of(timestep)
                    said = comfy.samplers.calc_cond_batch(*given, options | {"transformer_options": told})
                    fused[place].add(tile, said[place])
            shown, blank = (fusion.mean() for fusion in fused)
            scale = sample.guidance_scale(self._settings, len(x)).to(x)
            sides = self.conds["positive"], self.conds["negative"]
            return comfy.samplers.cfg_function(self.inner_model, shown, blank, scale, x, timestep, options, *sides)

    return OneByOne


class Loop:
    """Our sampling loop over one chunk, with any guider."""

    def __init__(self, model: Any, told: Any, noise: torch.Tensor):
        self.model, self.told, self.noise, self.x = model, told, noise, noise

    def run(self, guider: type, poses: torch.Tensor, steps: int) -> tuple[list[float], torch.Tensor, torch.Tensor]:
        """(seconds of each step but the first, what the first step sees without noise, the last latents)."""
        sample, marks, first = ours("mimicmotion.sample"), [], []
        real, sample.TiledGuider = sample.TiledGuider, guider

        def after(step: int, denoised: torch.Tensor, x: torch.Tensor, _total: int) -> None:
            marks.append(now())
            if step == 0:
                first.append(denoised.float().cpu())
                self.x = x.clone()

        try:
            made = sample.denoise(self.model, self.told, poses, self.noise, sample.Settings(steps), after, 42)
        finally:
            sample.TiledGuider = real
        return [b - a for a, b in pairwise(marks)], first[0], made.float().cpu()


class CMBenchPoses:
    """Pictures in place of a person and of drawn poses; the counting of memory begins anew."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE",), "make", "comfy-motion/bench"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {name: ("INT", {"default": 64}) for name in ("width", "height", "frames", "seed")}}

    def make(self, width: int, height: int, frames: int, seed: int):
        """Flat shapes that differ from frame to frame: noise would be averaged away by PoseNet."""
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        drawn = torch.rand((frames, 3, 9, 16), generator=torch.Generator().manual_seed(seed))
        return (torch.nn.functional.interpolate(drawn, size=(height, width)).movedim(1, -1).contiguous(),)


class CMBenchEnd:
    """Takes the frames to their end, and says what PyTorch held at most."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "end", "comfy-motion/bench", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"frames": ("CM_FRAMES",), "path": ("STRING", {})}}

    def end(self, frames: Any, path: str):
        pixels = frames.read(0, frames.num_frames)
        found: dict[str, Any] = {"frames": list(pixels.shape), "deviation": round(pixels.float().std().item(), 2)}
        if torch.cuda.is_available():
            found["torch_reserved_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
            found["torch_allocated_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        return say(found, path)


class CMBenchSteps:
    """Seconds a step: ours, the original way, and what lies between."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "measure", "comfy-motion/bench", True

    @classmethod
    def INPUT_TYPES(cls):
        kinds = {"model": "MODEL", "pose_net": "CM_POSENET", "clip_vision": "CLIP_VISION", "vae": "VAE"}
        kinds |= {"reference": "IMAGE", "reference_pose": "CM_FRAMES", "pose": "CM_FRAMES", "path": "STRING"}
        return {
            "required": {name: (kind, {}) for name, kind in kinds.items()}
            | {"weights": ("STRING", {}), "steps": ("INT", {})}
        }

    def measure(self, model, pose_net, clip_vision, vae, reference, reference_pose, pose, path, weights, steps):
        chunked, conditioning, posenet = (
            ours(f"mimicmotion.{name}") for name in ("chunked", "conditioning", "posenet")
        )
        device, dtype = model.load_device, model.model.get_dtype_inference()
        drawn = torch.cat([reference_pose.read(0, 1), pose.read(0, pose.num_frames)])
        found: dict[str, Any] = {"frames": list(drawn.shape), "type": str(dtype), "steps": steps}

        def save() -> dict[str, Any]:
            return say(found, path)

        encode = lambda: posenet.encode(pose_net, drawn, device, dtype)  # noqa: E731
        pose_net.scale.data /= encode().float().std().cpu()  # random weights hardly see the poses
        poses, found["posenet_once_s"] = timed(encode)
        run = chunked.Dance(
            chunked.Models(model, pose_net, clip_vision, vae), reference, reference_pose, pose, chunked.Plan()
        )
        noise = conditioning.draw_noise(42, run.width, run.height, len(drawn))
        told, found["clip_and_vae_encode_s"] = timed(lambda: run._told(noise))
        loop, guider = Loop(model, told, noise.of(len(drawn))), ours("mimicmotion.sample").TiledGuider
        net = copy.deepcopy(pose_net).to(device, dtype)
        pictures = (drawn.movedim(-1, 1) / 127.5 - 1).to(device, dtype)
        net(pictures)
        _, found["posenet_a_step_s"] = timed(lambda: net(pictures))
        original, apart = one_by_one(net, pictures), one_by_one(None, None)

        _, first, _ = loop.run(guider, poses, 2)  # warms up, and what is compared before anything is timed
        found["finite"] = bool(first.isfinite().all())
        for name, way, given in (("original", original, poses), ("without poses", guider, poses * 0)):
            found[f"relative L2 of a step, {name}"] = relative_l2(first, loop.run(way, given, 2)[1])
        save()
        ways = {"ours": guider, "original": original, "ours, one by one": apart, "ours again": guider}
        self._time(found, save, loop, ways, poses, steps)
        order = getattr(comfy.ops, "SDPA_BACKEND_PRIORITY", None)
        if order is not None:
            found["ours profiled"] = shares(lambda: loop.run(guider, poses, 2), 2)
            found["original profiled"] = shares(lambda: loop.run(original, poses, 2), 2)
            save()
            before, order[:2] = order[:2], reversed(order[:2])
            self._time(found, save, loop, {"ours, cuDNN attention first": guider}, poses, steps)
            order[:2] = before
        published = published_step(Path(weights), dtype, device, net, pictures, told, loop.x, steps)
        if published is not None:
            seconds, denoised = published
            found["diffusers"] = {"median_s": statistics.median(seconds), "steps_s": seconds}
            found["relative L2 of a step, diffusers"] = relative_l2(first, denoised)
        return save()

    def _time(self, found, save, loop, ways, poses, steps) -> None:
        for name, way in ways.items():
            loop.run(way, poses, 2)
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            seconds, _, last = loop.run(way, poses, steps)
            found[name] = {"median_s": statistics.median(seconds), "steps_s": [round(s, 4) for s in seconds]}
            if torch.cuda.is_available():
                found[name]["torch_reserved_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
            found[name]["latents_deviation"] = last.std().item()
            save()


NODES = (CMBenchPoses, CMBenchEnd, CMBenchSteps)
