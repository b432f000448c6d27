"""MultiTalk's and InfiniteTalk's loops as published, over diffusers' transformer and VAE: window after window.

Written from the rules. The audio layers are those of multitalk_reference.py, hung between the attention to the text
and the feed-forward. `wrong` names one mistake that is made on purpose, which the tests must see.
"""

import itertools
from dataclasses import dataclass
from types import SimpleNamespace

import torch

from . import multitalk_reference as attention

NEXT = 4  # video frames a latent frame
OF_BOTH = (
    "audio from behind the motion frames",
    "audio repeats its end",
    "guidance swapped",
    "mask knows too much",
    "noise of the first window",
)
MISTAKES = {
    "multitalk": (
        *OF_BOTH,
        "motion clean",
        "motion of the wrong step",
        "motion not renewed",
        "mask knows too little",
        "CLIP sees the picture",
    ),
    "infinitetalk": (*OF_BOTH, "motion noised", "CLIP sees the motion", "the picture is not known"),
}


def linear(weights: dict, name: str) -> torch.nn.Linear:
    weight = weights[f"{name}.weight"]
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": weights[f"{name}.bias"]})
    return layer


class TalkingTransformer:
    """diffusers' Wan with the patch's layers. weights: of the patch, float32."""

    def __init__(self, transformer: torch.nn.Module, weights: dict[str, torch.Tensor]):
        self.transformer, self.weights = transformer, weights
        for number, block in enumerate(transformer.blocks):
            name = f"blocks.{number}.audio_cross_attn"
            module = SimpleNamespace(
                num_heads=40,
                **{part: linear(weights, f"{name}.{part}") for part in ("q_linear", "kv_linear", "proj")},
            )
            width = weights[f"blocks.{number}.norm_x.weight"].shape[0]
            norm = torch.nn.LayerNorm(width)
            norm.load_state_dict({part: weights[f"blocks.{number}.norm_x.{part}"] for part in ("weight", "bias")})
            self._hang(block, module, norm)

    def _hang(self, block, module, norm) -> None:
        seen = {}

        def before_self_attention(attn, given):
            hidden, rotary = given[0], given[3]
            seen["places"] = None if self.rows is None else self._places(attn, hidden, rotary)

        def before_text(_norm, given):
            seen["x"] = given[0]

        def after_text(_attn, _given, out):
            x = (seen["x"] + out)[0]
            heard = attention.audio_attention(module, attention.normalise(norm, x), self.tokens, seen["places"])
            return out + heard

        block.attn1.register_forward_pre_hook(before_self_attention)
        block.norm2.register_forward_pre_hook(before_text)
        block.attn2.register_forward_hook(after_text)

    def _places(self, attn, hidden: torch.Tensor, rotary) -> torch.Tensor:
        q, k = (
            self._turned(norm(layer(hidden)).unflatten(2, (attn.heads, -1)), rotary)[0]
            for norm, layer in ((attn.norm_q, attn.to_q), (attn.norm_k, attn.to_k))
        )
        return attention.positions(attention.speaker_map(q, k[: self.rows.shape[1]], self.rows))

    @staticmethod
    def _turned(x: torch.Tensor, rotary) -> torch.Tensor:
        cos, sin = rotary[0][..., 0::2], rotary[1][..., 1::2]
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)

    def project(self, heard: torch.Tensor) -> torch.Tensor:
        """Audio tokens [t, 32, c] of one voice's windows, heard [frames, 5, layers, channels]."""
        later = heard[1:].unflatten(0, (-1, NEXT))
        eight = [torch.cat((group[0, :3], group[1, 2:3], group[2, 2:3], group[3, 2:])) for group in later]
        first = linear(self.weights, "audio_proj.proj1")(heard[:1].flatten(1)).relu()
        others = linear(self.weights, "audio_proj.proj1_vf")(torch.stack(eight).flatten(1)).relu()
        hidden = linear(self.weights, "audio_proj.proj2")(torch.cat((first, others))).relu()
        tokens = linear(self.weights, "audio_proj.proj3")(hidden).unflatten(1, (32, -1))
        norm = (self.weights["audio_proj.norm.weight"], self.weights["audio_proj.norm.bias"])
        return torch.nn.functional.layer_norm(tokens, tokens.shape[-1:], *norm)

    def velocity(self, x, condition, sigma: float, text, clip, tokens, rows) -> torch.Tensor:
        self.tokens, self.rows = tokens, rows
        return self.transformer(
            torch.cat((x, condition), dim=1), torch.tensor([1000 * sigma]), text, clip, return_dict=False
        )[0]


@dataclass
class Loop:
    """One run of the published loop. features: [frames, layers, channels] a voice; rows: [3, tokens] or None."""

    network: TalkingTransformer
    vae: torch.nn.Module  # diffusers'
    clip: object  # picture [1, h, w, 3] in 0..1 -> [1, 257, 1280]
    texts: tuple[torch.Tensor, torch.Tensor]
    features: list[torch.Tensor]
    rows: torch.Tensor | None
    picture: torch.Tensor  # [1, h, w, 3] in 0..1
    infinite: bool
    sigmas: list[float]
    text_scale: float = 5.0
    audio_scale: float = 4.0
    frames: int = 9
    motion: int = 5
    seed: int = 42
    wrong: str = ""

    def latents(self, windows: int) -> list[torch.Tensor]:
        """What the VAE decodes in each window, [1, 16, t, h/8, w/8]."""
        made, tail = [], None
        for window in range(windows):
            made.append(self.window(window, tail, windows))
            tail = self._decode(made[-1])[-self.motion :]
        return made

    def window(self, number: int, tail: torch.Tensor | None, windows: int) -> torch.Tensor:
        """One window's latents. tail: the frames it goes on from, [motion, h, w, 3] in 0..1; None for the first."""
        start = number * (self.frames - self.motion)
        return self._window(number, tail, self._audio(start, windows > 1 and number == windows - 1))

    def _audio(self, start: int, last: bool) -> torch.Tensor:
        voices = []
        for features in self.features:
            if last and self.wrong != "audio repeats its end":
                missing = start + self.frames - len(features) + 3
                features = torch.cat((features, features[-missing:].flip(0)))
            if start and self.wrong == "audio from behind the motion frames":
                start_heard = start + self.motion
            else:
                start_heard = start
            around = torch.arange(start_heard, start_heard + self.frames)[:, None] + torch.arange(-2, 3)
            voices.append(self.network.project(features[around.clamp(0, len(features) - 1)]))
        return torch.cat(voices, dim=1)

    def _window(self, window: int, tail: torch.Tensor | None, tokens: torch.Tensor) -> torch.Tensor:
        of_tail = not self.infinite or self.wrong == "the picture is not known"
        known = tail if of_tail and tail is not None else self.picture
        video = torch.full((self.frames, *known.shape[1:]), 0.5)
        video[: len(known)] = known
        encoded = self._encode(video)
        condition = torch.cat((self._mask(len(known), encoded), encoded), dim=1)
        others = {"CLIP sees the picture": self.picture, "CLIP sees the motion": tail}
        seen = others.get(self.wrong, known)
        seen = known[-1:] if seen is None else seen[-1:]
        if self.infinite:
            motion = encoded[:, :, :1] if tail is None else self._encode(tail)
        else:
            motion = None if tail is None else encoded[:, :, : (self.motion + 3) // 4]
        x = self._sample(condition, self.clip(seen), tokens, motion, self._noise(window))
        return self._of_the_vae(x)

    def _noise(self, window: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed + (0 if self.wrong == "noise of the first window" else window))

    def _mask(self, known: int, like: torch.Tensor) -> torch.Tensor:
        """Four entries a latent, 1 where known: the first frame four times, then frame by frame."""
        known += {"mask knows too much": NEXT, "mask knows too little": -NEXT}.get(self.wrong, 0)
        entries = torch.zeros(self.frames, *like.shape[-2:])
        entries[: max(known, 0)] = 1
        entries = torch.cat((entries[:1].expand(3, -1, -1), entries))
        return entries.view(1, -1, 4, *like.shape[-2:]).transpose(1, 2)

    def _sample(self, condition, clip, tokens, motion, generator) -> torch.Tensor:
        x = torch.randn(condition[:, :16].shape, generator=generator)
        silence = self.network.project(torch.zeros(self.frames, 5, *self.features[0].shape[1:]))

        def known(sigma: float) -> torch.Tensor:
            if (self.infinite and self.wrong != "motion noised") or self.wrong == "motion clean":
                return motion
            drawn = torch.randn(motion.shape, generator=generator)
            if self.wrong == "motion not renewed":
                self._kept = drawn if sigma == self.sigmas[0] else self._kept
                drawn = self._kept
            return (1 - sigma) * motion + sigma * drawn

        count = 0 if motion is None else motion.shape[2]
        if count:
            x[:, :, :count] = known(self.sigmas[1 if self.wrong == "motion of the wrong step" else 0])
        for index, (sigma, after) in enumerate(itertools.pairwise(self.sigmas)):

            def velocity(text, heard, rows, x=x, sigma=sigma):
                return self.network.velocity(x, condition, sigma, self.texts[text], clip, heard, rows)

            x = x + (after - sigma) * self._guided(velocity, tokens, silence)
            if count:
                level = after
                if self.wrong == "motion of the wrong step" and after:
                    level = self.sigmas[index + 2]
                x[:, :, :count] = known(level) if after else motion
        return x

    def _guided(self, velocity, tokens, silence) -> torch.Tensor:
        with_all = velocity(0, tokens, self.rows)
        if self.text_scale == 1:
            without = velocity(0, silence, None)
            return without + self.audio_scale * (with_all - without)
        no_text, nothing = velocity(1, tokens, self.rows), velocity(1, silence, None)
        text, audio = self.text_scale, self.audio_scale
        if self.wrong == "guidance swapped":
            text, audio = audio, text
        return nothing + text * (with_all - no_text) + audio * (no_text - nothing)

    def _encode(self, video: torch.Tensor) -> torch.Tensor:
        given = video.movedim(-1, 0)[None] * 2 - 1
        return (self.vae.encode(given).latent_dist.mode() - self._mean) / self._std

    def _of_the_vae(self, x: torch.Tensor) -> torch.Tensor:
        return x * self._std + self._mean

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        return (self.vae.decode(latents).sample[0].movedim(0, -1) / 2 + 0.5).clamp(0, 1)

    @property
    def _mean(self) -> torch.Tensor:
        return torch.tensor(self.vae.config.latents_mean).view(1, -1, 1, 1, 1)

    @property
    def _std(self) -> torch.Tensor:
        return torch.tensor(self.vae.config.latents_std).view(1, -1, 1, 1, 1)
