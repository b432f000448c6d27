"""The noise levels of MultiTalk's published code."""

import torch

from ..errors import MotionError

TRAINED_STEPS = 1000


def talk_sigmas(steps: int, shift: float) -> torch.Tensor:
    """float32 [steps + 1] from 1 to 0: timesteps evenly from 1000 to 1, shifted, and 0 after them.

    The last timestep that is evaluated is 1 before the shift, not 1000 / steps as in core's schedulers. shift: 7 for
    480p, 11 for 720p, 2 with a step-distilled LoRA. The levels go to the sampler as they are: what shift the model was
    given for core's schedulers does not matter.
    Raises MotionError invalid_value for steps below 1 and a shift that is not positive.
    """
    if steps < 1 or not shift > 0:
        raise MotionError(
            "invalid_value",
            f"steps is {steps} and shift {shift:g}; there must be a step, and the shift must be above 0.",
            "Use 40 steps and a shift of 7 for 480p, 11 for 720p.",
        )
    times = torch.linspace(TRAINED_STEPS, 1, steps, dtype=torch.float64) / TRAINED_STEPS
    shifted = shift * times / (1 + (shift - 1) * times)
    return torch.cat([shifted, torch.zeros(1, dtype=torch.float64)]).float()
