"""The face encoder runs once for a face video instead of in every evaluation of the model.

AnimateWanModel (core v0.33.0, comfy/ldm/wan/model_animate.py) turns the face video into motion tokens in
`after_patch_embedding`, at every step and for both sides of the guidance, though they depend on the face video
alone. Here they are remembered for as long as one sampling lasts. The values are the model's own, so the
result is the same to the last bit; what is remembered is dropped when the sampling ends in any way.

Not for LoRA hooks that change the face encoder between steps: they would be ignored after the first.
"""

from collections.abc import Callable
from typing import Any

import torch

KEY = "comfy_motion.face_once"
MAX_ENTRIES = 2  # positive and negative


class FaceMemory:
    """Motion tokens by face video; equal videos are recognised by their values."""

    def __init__(self):
        self._entries: list[tuple[torch.Tensor, int, torch.Tensor]] = []

    def find(self, face: torch.Tensor, latents: int) -> torch.Tensor | None:
        """The tokens of an equal video (same device, type and values) for a window of `latents` latents."""
        for known, known_latents, tokens in self._entries:
            same_kind = known.device == face.device and known.dtype == face.dtype and known.shape == face.shape
            if same_kind and known_latents == latents and torch.equal(known, face):
                return tokens
        return None

    def keep(self, face: torch.Tensor, latents: int, tokens: torch.Tensor) -> None:
        """Remembers; the oldest entry goes when there are more than two."""
        self._entries = [*self._entries, (face, latents, tokens)][-MAX_ENTRIES:]

    def clear(self) -> None:
        self._entries = []


def encode_face_once(model: Any) -> Any:
    """A clone of a Wan-Animate MODEL whose face encoder runs once per face video and sampling.

    Raises MotionError model_file for any other model.
    """
    from comfy.ldm.wan.model_animate import AnimateWanModel
    from comfy.patcher_extension import WrappersMP

    from ..errors import MotionError

    diffusion_model = model.get_model_object("diffusion_model")
    if not isinstance(diffusion_model, AnimateWanModel):
        raise MotionError(
            "model_file",
            f"The model is a {type(diffusion_model).__name__}, which has no face encoder.",
            "Load a Wan2.2 Animate model (wan2.2_animate_14B).",
        )
    memory = FaceMemory()
    patched = model.clone()
    for kind in (WrappersMP.OUTER_SAMPLE, WrappersMP.DIFFUSION_MODEL):
        patched.remove_wrappers_with_key(kind, KEY)
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, _forgetting(memory))
    patched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, _remembering(memory))
    return patched


def _forgetting(memory: FaceMemory) -> Callable:
    def sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
        memory.clear()
        try:
            return executor(*args, **kwargs)
        finally:
            memory.clear()

    return sample


def _remembering(memory: FaceMemory) -> Callable:
    """Gives the model, for one evaluation, an `after_patch_embedding` that looks into the memory first."""

    def evaluate(executor: Any, *args: Any, **kwargs: Any) -> Any:
        model = executor.class_obj  # the module that really runs: a clone of its own on each device
        original = model.after_patch_embedding

        def after_patch_embedding(x: torch.Tensor, pose: torch.Tensor | None, face: torch.Tensor | None) -> tuple:
            if face is None:
                return original(x, pose, face)
            tokens = memory.find(face, x.shape[2])
            if tokens is not None:
                return original(x, pose, None)[0], tokens
            x, tokens = original(x, pose, face)
            memory.keep(face, x.shape[2], tokens)
            return x, tokens

        set_before = "after_patch_embedding" in vars(model)  # another patch's, then it goes back
        model.after_patch_embedding = after_patch_embedding
        try:
            return executor(*args, **kwargs)
        finally:
            if set_before:
                model.after_patch_embedding = original
            else:
                del model.after_patch_embedding

    return evaluate
