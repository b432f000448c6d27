"""Two guidance scales: how closely the text is followed, and how closely the voices.

MultiTalk's published rule over three evaluations, with prompt and voices, without the prompt, without both:
without both + T (with all - without prompt) + A (without prompt - without both). With T = 1 the prompt is never left
out: without voices + A (with all - without voices). What a scale of 1 makes superfluous is not evaluated.
"""

import math
from dataclasses import dataclass

import torch

WITH_ALL, NO_VOICE = "positive", "positive without voice"
NO_TEXT, NO_TEXT_NO_VOICE = "negative", "negative without voice"


@dataclass(frozen=True)
class Guidance:
    """T and A of the rule. 1 and 1 is the model as it is."""

    text: float = 5.0
    audio: float = 4.0

    @property
    def evaluations(self) -> tuple[str, ...]:
        """What must be evaluated in each step, in the order in which `combine` takes it."""
        if math.isclose(self.text, 1.0):
            return (WITH_ALL,) if math.isclose(self.audio, 1.0) else (WITH_ALL, NO_VOICE)
        return (WITH_ALL, NO_TEXT) if math.isclose(self.audio, 1.0) else (WITH_ALL, NO_TEXT, NO_TEXT_NO_VOICE)

    @property
    def silent(self) -> frozenset[int]:
        """Which of the evaluations hear silence: one person, zero features."""
        return frozenset(n for n, name in enumerate(self.evaluations) if name in (NO_VOICE, NO_TEXT_NO_VOICE))

    def combine(self, made: list[torch.Tensor]) -> torch.Tensor:
        """The guided one of the evaluations' results, velocities or denoised latents: the weights add up to 1."""
        names = self.evaluations
        if len(made) != len(names):
            raise ValueError(f"{len(made)} results for the evaluations {', '.join(names)}")
        if len(names) == 1:
            return made[0]
        if len(names) == 2:
            scale = self.audio if NO_VOICE in names else self.text
            return made[1] + scale * (made[0] - made[1])
        with_all, no_text, nothing = made
        return nothing + self.text * (with_all - no_text) + self.audio * (no_text - nothing)
