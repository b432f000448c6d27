"""One window's sampling: up to three evaluations a step, and frames that are known already held where they belong."""

from dataclasses import dataclass
from typing import Any

import comfy.samplers
import torch

from .guidance import NO_TEXT, NO_TEXT_NO_VOICE, Guidance


@dataclass
class Motion:
    """The first latents of a window, which show what is known: float [1, 16, k, h/8, w/8], as the VAE gives them.

    noised: MultiTalk sees them with fresh noise of each step's level, InfiniteTalk always clean.
    """

    latents: torch.Tensor
    noised: bool


class TalkGuider(comfy.samplers.CFGGuider):
    """Core's guider with MultiTalk's guidance and known first latents.

    The known latents are set before every evaluation, not after every step: in the published loop nothing looks at
    them in between, and so any of core's samplers does right. What comes back says that they are the known ones.
    """

    def __init__(self, model: Any, guidance: Guidance, motion: Motion | None, generator: torch.Generator):
        """generator: of the CPU, gives the known latents' noise."""
        super().__init__(model)
        self.guidance, self.motion, self._generator = guidance, motion, generator
        self._known: torch.Tensor | None = None

    def set_conds(self, positive: list, negative: list) -> None:
        """positive and negative: CONDITIONING of the window; the negative one is left out where nothing needs it."""
        without = (NO_TEXT, NO_TEXT_NO_VOICE)
        self.inner_set_conds({name: negative if name in without else positive for name in self.guidance.evaluations})

    def predict_noise(self, x: torch.Tensor, timestep: torch.Tensor, model_options: dict = {}, seed: Any = None):  # noqa: B006
        """The denoised latents, as core's own guiders return them. x: [1, 16, t, h/8, w/8]; timestep: sigma [1]."""
        known = self._known_latents(x)
        if known is not None:
            x = x.clone()
            x[:, :, : known.shape[2]] = self._seen(known, timestep)
        conds = [self.conds[name] for name in self.guidance.evaluations]
        made = comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, model_options)
        denoised = self.guidance.combine(made)
        if known is not None:
            denoised[:, :, : known.shape[2]] = known
        return denoised

    def _known_latents(self, x: torch.Tensor) -> torch.Tensor | None:
        """The known latents in the model's numbers."""
        if self.motion is not None and self._known is None:
            self._known = self.inner_model.process_latent_in(self.motion.latents.to(x))
        return self._known

    def _seen(self, known: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The known latents as the model sees them at this noise level."""
        assert self.motion is not None
        if not self.motion.noised:
            return known
        noise = torch.randn(known.shape, generator=self._generator).to(known)
        return self.inner_model.model_sampling.noise_scaling(sigma, noise, known)
