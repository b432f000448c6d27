"""The node for bench/multitalk_gpu.py that times one evaluation of Wan with MultiTalk, ours and core's.

All ways run in the same loop (core's guider without guidance, Euler) on the same random inputs, so number format,
attention and offloading are the same and only the model patches differ. The voices are random numbers, four times as
loud as the projection makes them: random weights would hardly hear them. Before anything is timed, every block of an
evaluation of ours is held against the slow formula (talk_reference.py).
"""

import statistics
from itertools import pairwise
from typing import Any

import comfy.clip_vision
import comfy.model_management
import comfy.samplers
import torch

from .kernels import back_ends, shares
from .measuring import now, ours, relative_l2, say
from .talk_reference import SlowLayers
from .talk_stages import CMBenchStages

CHANNELS, TOKENS = 16, 32
"""Of a latent; of a voice in a latent frame."""
LOUD = 4.0
WARM_UPS = 2


class Inputs:
    """Random inputs of one evaluation: float32 on the CPU, as nodes hand them over."""

    def __init__(self, network: Any, width: int, height: int, frames: int):
        self.grid = ((frames - 1) // 4 + 1, height // 16, width // 16)
        size = (1, CHANNELS, self.grid[0], height // 8, width // 8)
        draw = torch.Generator().manual_seed(42)
        self.noise = torch.randn(size, generator=draw)
        words = torch.randn((1, 512, network.text_embedding[0].in_features), generator=draw)
        seen = comfy.clip_vision.Output()
        wide = network.img_emb.proj[0].normalized_shape[0]
        seen.penultimate_hidden_states = torch.randn((1, 257, wide), generator=draw)
        mask = torch.ones((1, 1, *size[2:]))
        mask[:, :, 0] = 0
        picture = torch.randn(size, generator=draw)
        told = {"concat_latent_image": picture, "concat_mask": mask, "clip_vision_output": seen}
        self.conditioning = [[words, told]]

    def voices(self, number: int, channels: int) -> torch.Tensor:
        """Audio tokens [T, number * 32, channels]."""
        draw = torch.Generator().manual_seed(7)
        return LOUD * torch.randn((self.grid[0], number * TOKENS, channels), generator=draw)

    def rows(self) -> torch.Tensor:
        """Left, right, and what is neither: [3, S], by our node's own rule."""
        speakers = ours("talk.speakers").left_and_right(self.grid[2] * 16, self.grid[1] * 16)
        return speakers.token_rows(*self.grid[1:])


def as_core(model: Any, patch: Any, tokens: torch.Tensor, rows: torch.Tensor | None) -> Any:
    """What core's WanInfiniteTalkToVideo does to a model. tokens: [T, voices * 32, C]; rows: [n, S]; it gives two."""
    from comfy.ldm.wan.model_multitalk import MultiTalkCrossAttnPatch, MultiTalkGetAttnMapPatch

    talking = model.clone()
    heard = tokens[None].to(comfy.model_management.get_torch_device(), talking.model_dtype())
    talking.model_options["transformer_options"]["audio_embeds"] = heard
    talking.set_model_patch(MultiTalkCrossAttnPatch(patch, 1.0), "attn2_patch")
    if rows is not None:
        talking.set_model_patch(MultiTalkGetAttnMapPatch(rows), "attn1_patch")
    return talking


class Loop:
    """Evaluations, one a step."""

    def __init__(self, inputs: Inputs):
        self._inputs = inputs

    def run(self, model: Any, steps: int = 1) -> tuple[list[float], torch.Tensor]:
        """(seconds of each step but the first, what the first one predicts for the noise)."""
        marks, first = [], []

        def after(step: int, denoised: torch.Tensor, x: torch.Tensor, _total: int) -> None:
            marks.append(now())
            if step == 0:
                first.append((x - denoised).float().cpu())

        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(self._inputs.conditioning, self._inputs.conditioning)
        guider.set_cfg(1.0)
        noise, sampler = self._inputs.noise, comfy.samplers.sampler_object("euler")
        sigmas = torch.linspace(0.9, 0.1, steps + 1)
        guider.sample(noise, noise * 0, sampler, sigmas, callback=after, disable_pbar=True, seed=42)
        return [b - a for a, b in pairwise(marks)], first[0]


def with_slow_layers(run: Any) -> tuple[Any, dict[str, float]]:
    """`run(attach)` with the slow formula in the place of our layers; what it noted."""
    patches = ours("talk.patches")
    real, slow = patches.layers, SlowLayers(1.0)
    patches.layers = lambda speakers, scale: slow
    try:
        return run(), slow.found
    finally:
        patches.layers = real


class CMBenchTalk:
    """Seconds of one evaluation with one and with two speakers."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "measure", "comfy-motion/bench", True

    @classmethod
    def INPUT_TYPES(cls):
        kinds = {"model": "MODEL", "model_patch": "MODEL_PATCH", "path": "STRING"}
        numbers = ("width", "height", "frames", "timed")
        return {
            "required": {name: (kind, {}) for name, kind in kinds.items()} | {name: ("INT", {}) for name in numbers}
        }

    def measure(self, model, model_patch, path, width, height, frames, timed):
        network = model.get_model_object("diffusion_model")
        inputs = Inputs(network, width, height, frames)
        loop, ways = Loop(inputs), self._ways(model, model_patch, inputs)
        found: dict[str, Any] = {
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version() if torch.cuda.is_available() else None,
            "type": str(model.model.get_dtype_inference()),
            "tokens": list(inputs.grid),
            "layers": {n: type(ours("talk.patches").layers(n, 1.0)).__name__ for n in (1, 2)},
        }
        self._compare(found, loop, ways)
        say(found, path)
        for name in ("ours, one speaker", "core, one speaker", "ours, two speakers", "core, two speakers"):
            found[name] = self._time(loop, ways[name](), timed)
            say(found, path)
        for name in ("ours, two speakers", "core, two speakers"):
            found[f"attention of {name}"] = back_ends(lambda name=name: loop.run(ways[name]()))
        if torch.cuda.is_available():
            for name in ("ours, one speaker", "ours, two speakers"):
                found[f"{name}, profiled"] = shares(lambda name=name: loop.run(ways[name]()), 1)
        return say(found, path)

    def _ways(self, model: Any, patch: Any, inputs: Inputs) -> dict[str, Any]:
        """{name: what makes a model that hears}."""
        patches, channels = ours("talk.patches"), patch.model.blocks[0].audio_cross_attn.kv_linear.in_features
        one, two, rows = inputs.voices(1, channels), inputs.voices(2, channels), inputs.rows()
        silent, step = one * 0, torch.finfo(model.model.get_dtype_inference()).eps / 2
        rounded = two * (1 + step * torch.randn(two.shape, generator=torch.Generator().manual_seed(8)).sign())

        def attached(tokens: torch.Tensor, rows: torch.Tensor | None) -> Any:
            return patches.attach(model, patch, patches.TalkInput(tokens, silent, rows))

        return {
            "ours, one speaker": lambda: attached(one, None),
            "ours, two speakers": lambda: attached(two, rows),
            "voices swapped": lambda: attached(two.roll(TOKENS, 1), rows),
            "sound rounded once more": lambda: attached(rounded, rows),
            "core, one speaker": lambda: as_core(model, patch, one, None),
            "core, two speakers": lambda: as_core(model, patch, two, rows[:2] > 0),
            "core, told of the background": lambda: as_core(model, patch, two, rows > 0),
        }

    def _compare(self, found: dict[str, Any], loop: Loop, ways: dict[str, Any]) -> None:
        for name in ("ours, one speaker", "ours, two speakers"):
            _, made = loop.run(ways[name]())
            _, noted = with_slow_layers(lambda name=name: loop.run(ways[name]()))
            found[f"slow formula against {name}"] = {"finite": bool(made.isfinite().all()), **noted}
        others = ("voices swapped", "sound rounded once more", "core, two speakers", "core, told of the background")
        found["relative L2 from ours, two speakers"] = {
            name: relative_l2(made, loop.run(ways[name]())[1]) for name in others
        }

    def _time(self, loop: Loop, model: Any, timed: int) -> dict[str, Any]:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        seconds, _ = loop.run(model, WARM_UPS + timed)
        taken = seconds[WARM_UPS - 1 :]
        told: dict[str, Any] = {"median_s": statistics.median(taken), "steps_s": [round(s, 4) for s in taken]}
        if torch.cuda.is_available():
            told["torch_reserved_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
            told["torch_allocated_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        return told


NODES = (CMBenchTalk, CMBenchStages)
