"""Wan2.2 A14B's two experts: which of them evaluates which noise level.

The published model has one expert for timesteps of 900 and more and one for those below (image to video; 875 for
text to video). A timestep of Wan's flow is 1000 times its sigma, so the rule reads sigma >= 0.9, wherever the number
of steps and the shift put it. Core's own graphs split at a fixed step instead, which is right for one schedule only.
"""

import torch

from ..errors import MotionError


def split_at_boundary(sigmas: torch.Tensor, boundary: float) -> tuple[torch.Tensor, torch.Tensor]:
    """sigmas [steps + 1], falling, as (high, low), which share one sigma; the last sigma is never evaluated.

    high's steps are all evaluations at sigma >= boundary, low's all others. Where one expert has nothing to do its
    part is one sigma long, on purpose: core's SamplerCustomAdvanced then makes no step but still scales the latent.
    With nothing for the high expert it adds the noise that the low expert, run without noise, has to start from (an
    empty part would return the latent without it); with nothing for the low one it hands the finished latent on.
    Neither divides by zero, because a sigma of 1 is never below a boundary of at most 1.
    Raises MotionError invalid_value for a schedule that rises and for a boundary outside 0..1.
    """
    if not 0.0 <= boundary <= 1.0:
        raise MotionError("invalid_value", f"boundary is {boundary:g}; it is a noise level from 0 to 1.")
    if len(sigmas) > 1 and bool((sigmas[1:] > sigmas[:-1]).any()):
        raise MotionError(
            "invalid_value",
            "The noise levels do not fall from step to step, so no single boundary divides them in two.",
            "Connect a schedule as BasicScheduler makes it.",
        )
    high_steps = int((sigmas[:-1] >= boundary).sum())
    return sigmas[: high_steps + 1], sigmas[high_steps:]
