"""TEST ONLY: one LoRA file for two tiny models of different width; see demo/tiny_multitalk.py.

The avatar's and MultiTalk's graphs name the same LoRA of the same true size. Their tiny models differ in width, so the
tiny file holds tensors for each: those of a name `of_width_N:...` are for a model of that width alone. Files without
such names are loaded as before.
"""

import comfy.sd

_PREFIX = "of_width_"


def of_width(lora: dict, width: int | None) -> dict:
    """The tensors of a LoRA for a model of this width: those that name it, else those that name none."""
    named = f"{_PREFIX}{width}:"
    mine = {name.removeprefix(named): value for name, value in lora.items() if name.startswith(named)}
    return mine or {name: value for name, value in lora.items() if not name.startswith(_PREFIX)}


def install() -> None:
    """Wraps core's function behind the LoRA loaders."""
    real = comfy.sd.load_lora_for_models

    def load(model, clip, lora, *args, **kwargs):
        if any(name.startswith(_PREFIX) for name in lora):
            lora = of_width(lora, model and getattr(model.model.diffusion_model, "dim", None))
        return real(model, clip, lora, *args, **kwargs)

    comfy.sd.load_lora_for_models = load
