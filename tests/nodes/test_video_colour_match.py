"""Windows whose colours drift come back to the first."""

import pytest
import torch

from custom_nodes.comfy_motion.video.colour_match import MAX_GAIN, match

OVERLAP, LENGTH = 5, 17


def scene(frames: int) -> torch.Tensor:
    """A moving picture [frames, 24, 32, 3] well inside 0..1, so that a cast does not clip."""
    where = torch.linspace(0, 6, 32) + torch.linspace(0, 3, 24)[:, None]
    moving = torch.stack([torch.sin(where + 0.2 * n) for n in range(frames)]).unsqueeze(-1)
    return 0.5 + moving * torch.tensor([0.15, 0.10, 0.12])


def drifted(video: torch.Tensor, strength: float, windows: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """The video made in windows, each with a stronger cast than the one before: (as it is, matched)."""
    raw, kept = [], []
    for index in range(windows):
        start = index * (LENGTH - OVERLAP)
        gain = 1 + index * torch.tensor([0.02, -0.02, 0.03])
        offset = index * torch.tensor([0.015, -0.01, -0.015])
        window = (video[start : start + LENGTH] - 0.5) * gain + 0.5 + offset
        fresh = OVERLAP if index else 0
        raw.append(window[fresh:])
        if index:
            window = match(window[:OVERLAP], kept[-1][-OVERLAP:], strength).apply_(window.clone())
        kept.append(window[fresh:])
    return torch.cat(raw), torch.cat(kept)


def test_a_growing_cast_is_taken_out():
    video = scene(17 + 5 * 12)
    raw, matched = drifted(video, 1.0)
    assert raw.shape == video.shape
    assert (raw[-1] - video[-1]).abs().max() > 0.06  # the drift is there
    assert (matched - video).abs().max() < 1e-3


def test_strength_is_how_much():
    video = scene(17 + 5 * 12)
    raw, untouched = drifted(video, 0.0)
    assert torch.allclose(raw, untouched, atol=1e-6)
    errors = [(drifted(video, strength)[1][-1] - video[-1]).abs().mean() for strength in (0.0, 0.5, 1.0)]
    assert errors[0] > 1.2 * errors[1] > 10 * errors[2]  # half strength lags a window behind the drift
    with pytest.raises(ValueError, match="color_match"):
        match(video, video, 1.5)


def test_flat_pictures_are_shifted_and_never_blown_up():
    flat, other = torch.full((5, 8, 8, 3), 0.4), torch.full((5, 8, 8, 3), 0.5)
    assert torch.allclose(match(flat, other).apply_(flat.clone()), other, atol=1e-6)
    contrast = scene(5)
    assert torch.equal(match(flat, contrast).gain, torch.ones(3))
    assert torch.equal(match(contrast, flat).gain, torch.ones(3))
    faint = 0.5 + (contrast - 0.5) * 0.05
    assert match(faint, contrast).gain.max() <= MAX_GAIN
    assert match(contrast, faint).gain.min() >= 1 / MAX_GAIN - 1e-6


def test_the_whole_window_is_changed_whatever_the_chunk():
    window, kept = scene(11), scene(11)[:5] * 0.9
    found = match(window[:5], kept)
    assert torch.equal(found.apply_(window.clone(), chunk=3), found.apply_(window.clone(), chunk=100))
