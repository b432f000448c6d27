"""What the video model is told of one window: which frames it knows, and what the picture shows.

MultiTalk knows the picture in the first window and the frames it goes on from in every other: they are in front of the
grey that the VAE encodes, in the mask, and their last one is what CLIP sees. InfiniteTalk knows the picture and nothing
else in every window; the frames it goes on from are only held in the latents. Both as in the published code.
"""

from dataclasses import dataclass
from typing import Any

import torch

from ..clips.windows import latents_of

GREY = 0.5  # zero in the -1..1 of the VAE
MULTITALK, INFINITETALK = "multitalk", "infinitetalk"
LOOPS = (MULTITALK, INFINITETALK)


@dataclass
class WindowInput:
    """One window, ready to be sampled."""

    positive: list
    negative: list
    latent: torch.Tensor  # zeros [1, 16, t, h/8, w/8]
    known: torch.Tensor | None  # [1, 16, k, h/8, w/8] as the VAE gives them: the window's first latents, given


def known_video(known: torch.Tensor, length: int) -> torch.Tensor:
    """float [length, h, w, 3]: `known` [k, h, w, 3] in 0..1, grey behind it."""
    video = torch.full((length, *known.shape[1:]), GREY, dtype=torch.float32, device=known.device)
    video[: len(known)] = known
    return video


def unknown_mask(known: int, latent: torch.Tensor) -> torch.Tensor:
    """float [1, 1, t, h/8, w/8], 1 where the model must generate: all but the latents of the first `known` frames.

    core's `concat_mask`; the model is fed one minus that, four times.
    """
    mask = torch.ones((1, 1, *latent.shape[2:]), dtype=torch.float32, device=latent.device)
    mask[:, :, : latents_of(known)] = 0.0
    return mask


def clip_embedding(clip_vision: Any, image: torch.Tensor) -> Any:
    """CLIP vision's output for one picture, float [1, h, w, 3] in 0..1.

    The whole picture, squeezed into CLIP's square, bicubic without widening the filter, as the published code does it;
    core's "crop: none" widens the filter.
    """
    size = clip_vision.image_size
    pixels = torch.nn.functional.interpolate(image.movedim(-1, 1).float(), size=(size, size), mode="bicubic")
    return clip_vision.encode_image(pixels.clamp(0, 1).movedim(1, -1), crop=False)


class Conditioner:
    """Makes the input of each window; what is the same in all is made once."""

    def __init__(self, loop: str, positive: list, negative: list, vae: Any, clip_vision: Any, picture: torch.Tensor):
        """picture: float [1, h, w, 3] in 0..1, its sides multiples of 16."""
        if loop not in LOOPS:
            raise ValueError(f"loop is {loop!r}; it can be {' or '.join(LOOPS)}")
        self.loop, self._texts = loop, (positive, negative)
        self._vae, self._clip_vision, self._picture = vae, clip_vision, picture
        self._told: tuple[int, dict[str, Any]] | None = None

    def window(self, length: int, tail: torch.Tensor | None) -> WindowInput:
        """length: frames. tail: the frames it goes on from, float [4n+1, h, w, 3] in 0..1; None in the first one."""
        if self.loop == INFINITETALK:
            told = self._tell_picture(length)
            known = told["concat_latent_image"][:, :, :1] if tail is None else self._vae.encode(tail)
        elif tail is None:
            told, known = self._tell_picture(length), None
        else:
            told = self._tell(tail, length)
            known = told["concat_latent_image"][:, :, : latents_of(len(tail))]
        positive, negative = ([[text, options | told] for text, options in entry] for entry in self._texts)
        return WindowInput(positive, negative, torch.zeros_like(told["concat_latent_image"]), known)

    def _tell_picture(self, length: int) -> dict[str, Any]:
        if self._told is None or self._told[0] != length:
            self._told = length, self._tell(self._picture, length)
        return self._told[1]

    def _tell(self, known: torch.Tensor, length: int) -> dict[str, Any]:
        image = self._vae.encode(known_video(known, length))
        return {
            "concat_latent_image": image,
            "concat_mask": unknown_mask(len(known), image),
            "clip_vision_output": clip_embedding(self._clip_vision, known[-1:]),
        }
