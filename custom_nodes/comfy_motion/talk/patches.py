"""MultiTalk's audio layers on a Wan model, through the hooks core has for them.

Core's own patches (MultiTalkGetAttnMapPatch, MultiTalkCrossAttnPatch of comfy/ldm/wan/model_multitalk.py, v0.33.0)
stop at a batch of two, hear the same sound in every row of a batch, and build the speaker map as a table. These take
any batch: rows that belong to one condition are found by `cond_or_uncond`, and some conditions are silent. Where core
is fixed (`core_state`), its patches do the work, called once for each run of rows that hear the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import MotionError
from .attention import audio_attention, positions, speaker_map
from .core_state import core_differs

#: Where the places found in a block's self-attention wait for its audio attention.
KEY = "comfy_motion.talk_places"
#: MultiTalk's published code; core builds the layer with 1e-5.
NORM_EPS = 1e-6


@dataclass(frozen=True)
class TalkInput:
    """What a window hears, projected: tokens [T, voices * 32, C], silent [T, 32, C], T the latent frames.

    rows: [3, S] of 0 and 1 over the tokens of a frame (person 1, person 2, background), or None for one speaker.
    """

    tokens: torch.Tensor
    silent: torch.Tensor
    rows: torch.Tensor | None = None


@dataclass(frozen=True)
class Run:
    """Rows start..stop of a batch, which hear the same."""

    start: int
    stop: int
    silent: bool


def runs(options: dict, batch: int, silent: frozenset[int]) -> list[Run]:
    """The rows of a batch by what they hear; neighbours that hear the same are one run.

    options: transformer_options; its `cond_or_uncond` names the conditions, each with equally many rows. Without it,
    all rows are condition 0.
    """
    conditions = options.get("cond_or_uncond") or [0]
    rows = batch // len(conditions)
    found: list[Run] = []
    for number, condition in enumerate(conditions):
        run = Run(number * rows, (number + 1) * rows, condition in silent)
        if found and found[-1].silent == run.silent:
            run = Run(found.pop().start, run.stop, run.silent)
        found.append(run)
    return found


class OwnLayers:
    """This package's attention."""

    def __init__(self, audio_scale: float):
        self._scale = audio_scale

    def look(self, q: torch.Tensor, k: torch.Tensor, rows: torch.Tensor, options: dict) -> torch.Tensor:
        """The places of q's tokens [B, L, heads, D], by the masks [3, S] of the frame that k begins with."""
        return positions(speaker_map(q, k[:, : rows.shape[1]], rows))

    def listen(self, model: Any, x: torch.Tensor, tokens: torch.Tensor, places: Any, options: dict) -> torch.Tensor:
        """x with what it hears added."""
        block = model.blocks[options["block_index"]]
        with published_eps(block.norm_x):
            normalised = block.norm_x(x)
        heard = audio_attention(block.audio_cross_attn, normalised, tokens, places)
        return torch.add(x, heard, alpha=self._scale)


class CoreLayers:
    """Core's attention, for a core that takes batches and makes no table. Same calls as OwnLayers."""

    def __init__(self, audio_scale: float):
        self._scale = audio_scale

    def look(self, q: torch.Tensor, k: torch.Tensor, rows: torch.Tensor, options: dict) -> Any:
        from comfy.ldm.wan.model_multitalk import MultiTalkGetAttnMapPatch

        seen = dict(options)
        MultiTalkGetAttnMapPatch(rows)({"x": q, "q": q, "k": k, "transformer_options": seen})
        return seen["x_ref_attn_map"]

    def listen(self, model: Any, x: torch.Tensor, tokens: torch.Tensor, places: Any, options: dict) -> torch.Tensor:
        from comfy.ldm.wan.model_multitalk import MultiTalkCrossAttnPatch

        grid = (len(tokens), *options["grid_sizes"][-2:])  # of the video alone: references are cut off already
        heard = options | {"audio_embeds": tokens.unsqueeze(0), "x_ref_attn_map": places, "grid_sizes": grid}
        with published_eps(model.blocks[options["block_index"]].norm_x):
            return MultiTalkCrossAttnPatch(_Patch(model), self._scale)({"x": x, "transformer_options": heard})


@dataclass(frozen=True)
class _Patch:
    model: Any


def layers(speakers: int, audio_scale: float) -> OwnLayers | CoreLayers:
    """Core's where it is fixed: one speaker needs batches, two need a map without a table as well."""
    own = core_differs("batch") or (speakers > 1 and core_differs("map_table"))
    return OwnLayers(audio_scale) if own else CoreLayers(audio_scale)


class SpeakerPatch:
    """attn1_patch: finds each token's place among the speakers from a block's self-attention."""

    def __init__(self, talk: TalkInput, rows: torch.Tensor, silent: frozenset[int], how: OwnLayers | CoreLayers):
        self._talk, self._rows, self._silent, self._how = talk, rows, silent, how
        self._on = OnDevice()

    def __call__(self, given: dict) -> torch.Tensor:
        options, q, k = given["transformer_options"], given["q"], given["k"]
        masks = self._on(self._rows, q.device, torch.float32)
        tokens = video_tokens(options, self._talk, q.shape[1])
        options[KEY] = places = []
        for run in runs(options, q.shape[0], self._silent):
            part = slice(run.start, run.stop)
            places.append(None if run.silent else self._how.look(q[part, :tokens], k[part], masks, options))
        return given["x"]


class AudioPatch:
    """attn2_patch: adds what each row of the batch hears, after the attention to the text."""

    def __init__(self, model_patch: Any, talk: TalkInput, silent: frozenset[int], how: OwnLayers | CoreLayers):
        self._model_patch, self._talk, self._silent, self._how = model_patch, talk, silent, how
        self._on = OnDevice()

    def models(self) -> list[Any]:
        """What core loads together with the model."""
        return [self._model_patch]

    def __call__(self, given: dict) -> torch.Tensor:
        options, x = given["transformer_options"], given["x"]
        places = options.pop(KEY, None)
        if options.get("block_index") is None:  # a part of the network that has no audio layers
            return x
        tokens = video_tokens(options, self._talk, x.shape[1])
        plan = runs(options, x.shape[0], self._silent)
        parts = []
        for number, run in enumerate(plan):
            heard = self._talk.silent if run.silent else self._talk.tokens
            place = None if places is None else places[number]
            rows = x[run.start : run.stop, :tokens]
            sound = self._on(heard, x.device, x.dtype)
            parts.append(self._how.listen(self._model_patch.model, rows, sound, place, options))
        heard = torch.cat(parts) if len(parts) > 1 else parts[0]
        # Reference tokens behind the video hear nothing, as in core.
        return heard if tokens == x.shape[1] else torch.cat((heard, x[:, tokens:]), dim=1)


class OnDevice:
    """Copies of tensors on the device and in the type where they are used, made once."""

    def __init__(self):
        self._copies: dict[tuple, torch.Tensor] = {}

    def __call__(self, tensor: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        key = (id(tensor), device, dtype)
        if key not in self._copies:
            self._copies[key] = tensor.to(device=device, dtype=dtype)
        return self._copies[key]


@contextmanager
def published_eps(norm: Any) -> Iterator[None]:
    """The layer with the published epsilon; its casting and offloading stay its own."""
    before, norm.eps = norm.eps, NORM_EPS
    try:
        yield
    finally:
        norm.eps = before


def video_tokens(options: dict, talk: TalkInput, present: int) -> int:
    """How many tokens of a sequence are the video that hears; those behind are references.

    Raises MotionError invalid_value if the sound has more frames than the video, or the masks another grid.
    """
    grid = options["grid_sizes"]
    frame, frames = grid[-2] * grid[-1], talk.tokens.shape[0]
    if frames > grid[-3] or frames * frame > present:
        raise MotionError(
            "invalid_value",
            f"The sound is for {frames} latent frames, the video has {grid[-3]}.",
            "Use one number of frames for the window's latents and its audio tokens.",
        )
    if talk.rows is not None and talk.rows.shape[1] != frame:
        raise MotionError(
            "invalid_value",
            f"The speakers' masks have {talk.rows.shape[1]} tokens, a frame of the video has {frame}.",
            "Find the speakers in a picture of the video's width and height.",
        )
    return frames * frame


def attach(
    model: Any,
    model_patch: Any,
    talk: TalkInput,
    silent: Sequence[int] | frozenset[int] = frozenset(),
    audio_scale: float = 1.0,
) -> Any:
    """A clone of a Wan MODEL that hears a window's sound through a MultiTalk MODEL_PATCH.

    silent: numbers of the conditions, in the order the guider gives them, that hear silence as one person would.
    Raises MotionError model_file if the patch is for a network of another width or depth.
    """
    network, audio = model.get_model_object("diffusion_model"), model_patch.model
    wants = (audio.blocks[0].audio_cross_attn.dim, len(audio.blocks))
    has = (getattr(network, "dim", None), len(getattr(network, "blocks", ())))
    if wants[0] != has[0] or wants[1] < has[1]:
        raise MotionError(
            "model_file",
            f"The MultiTalk patch is for width {wants[0]} and {wants[1]} blocks; "
            f"the model ({type(network).__name__}) has width {has[0]} and {has[1]} blocks.",
            "Load Wan2.1 I2V 14B and MultiTalk's or InfiniteTalk's patch for it.",
        )
    quiet = frozenset(silent)
    how = layers(1 if talk.rows is None else 2, audio_scale)
    talking = model.clone()
    if talk.rows is not None:
        talking.set_model_patch(SpeakerPatch(talk, talk.rows, quiet, how), "attn1_patch")
    talking.set_model_patch(AudioPatch(model_patch, talk, quiet, how), "attn2_patch")
    return talking
