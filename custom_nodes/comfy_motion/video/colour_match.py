"""The colours of a window or clip matched to the one before, and so to the first.

Where one goes on from the other both show the same moment (the overlap of two windows, the picture a clip was
started from), so whatever differs between them there is drift and not content. One gain and one offset a channel
(mean and deviation of the new pictures brought to those already kept) are measured there and applied to the whole
of the new. What was kept was matched in the same way, so all end up in the colours of the first. Drift within a
window is not seen: it is motion and content as much as drift, and nothing tells them apart.
"""

from dataclasses import dataclass

import torch

MAX_GAIN = 1.5
FLAT = 1e-3  # deviation below which a channel carries no contrast to measure


@dataclass(frozen=True)
class ColourMatch:
    """y = x * gain + offset per channel, on pictures in 0..1."""

    gain: torch.Tensor  # float32 [3]
    offset: torch.Tensor  # float32 [3]

    def apply_(self, images: torch.Tensor, chunk: int = 8) -> torch.Tensor:
        """In place on float [n, h, w, 3], a few frames at a time so that no second copy of a window exists."""
        gain, offset = self.gain.to(images), self.offset.to(images)
        for start in range(0, images.shape[0], chunk):
            images[start : start + chunk].mul_(gain).add_(offset).clamp_(0.0, 1.0)
        return images


def match(new: torch.Tensor, kept: torch.Tensor, strength: float = 1.0) -> ColourMatch:
    """The match that brings `new`'s colours to `kept`'s; both float [n, h, w, 3], the same moments.

    strength 0 changes nothing, 1 matches fully. A flat channel (no contrast to compare) is only shifted, and
    the gain is held to 1.5 either way: a larger one would be a mistake in the picture, not drift.
    """
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"color_match is {strength}; it must be from 0 (off) to 1 (full)")
    new_mean, new_deviation = _statistics(new)
    kept_mean, kept_deviation = _statistics(kept)
    gain = (kept_deviation / new_deviation.clamp_min(FLAT)).clamp(1.0 / MAX_GAIN, MAX_GAIN)
    gain = torch.where((new_deviation < FLAT) | (kept_deviation < FLAT), torch.ones_like(gain), gain)
    gain = 1.0 + strength * (gain - 1.0)
    shift = strength * (kept_mean - new_mean)
    return ColourMatch(gain, new_mean + shift - new_mean * gain)


def _statistics(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation per channel over all pixels, float32 [3]; frame by frame, in float64 sums."""
    total = torch.zeros(3, dtype=torch.float64, device=images.device)
    squares = torch.zeros_like(total)
    for image in images:
        pixels = image.reshape(-1, 3).to(torch.float64)
        total += pixels.sum(0)
        squares += pixels.square().sum(0)
    count = images.shape[0] * images.shape[1] * images.shape[2]
    mean = total / count
    return mean.float(), (squares / count - mean.square()).clamp_min(0).sqrt().float()
