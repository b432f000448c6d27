"""Core's Wan2.2 I2V experts against diffusers' transformer with the same random weights."""

import types

import pytest
import torch

from .avatar_world import as_in_comfyui, noise  # noqa: F401
from .comfy_import import import_comfyui
from .i2v_reference import transformer, weights
from .i2v_world import relative_error

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    """{file: what core makes of it, in float32, and diffusers' network}."""
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    import comfy.model_management
    import comfy.sd

    from demo import tiny_wan_i2v

    files = tiny_wan_i2v.write_tiny_wan_i2v(tmp_path_factory.mktemp("models"))
    made = {}
    for name in (tiny_wan_i2v.HIGH_NOISE, tiny_wan_i2v.LOW_NOISE):
        model = comfy.sd.load_diffusion_model(str(files[name]), model_options={"dtype": torch.float32})
        comfy.model_management.load_models_gpu([model])
        made[name] = types.SimpleNamespace(core=model, reference=transformer(weights(files[name])))
    return made


def model_input() -> dict:
    """One evaluation at timestep 731: 3 latents of 32x48 pixels, the mask and picture, a text."""
    mask = torch.zeros(1, 4, 3, 4, 6)
    mask[:, :, 0] = 1
    return {
        "x": noise(1, 16, 3, 4, 6, seed=1),
        "concat": torch.cat((mask, noise(1, 16, 3, 4, 6, seed=2)), dim=1),
        "text": noise(1, 512, 4096, seed=3),
        "sigma": torch.tensor([0.731]),
    }


def core_output(expert, given: dict) -> torch.Tensor:
    """The velocity, as core's own flow model asks its network for it (what it gives back is x - sigma * velocity)."""
    denoised = expert.core.model.apply_model(
        given["x"], given["sigma"], c_concat=given["concat"], c_crossattn=given["text"], transformer_options={}
    )
    return (given["x"] - denoised) / given["sigma"]


def reference_output(expert, given: dict) -> torch.Tensor:
    x = torch.cat((given["x"], given["concat"]), dim=1)
    return expert.reference(x, 1000 * given["sigma"], given["text"], return_dict=False)[0]


@pytest.mark.parametrize("noise_level", ["high", "low"])
def test_cores_experts_are_diffusers(experts, noise_level):
    """Far above rounding, far below any mistake: the twins take the other expert, mask or picture."""
    high, low = experts.values()
    expert, other = (high, low) if noise_level == "high" else (low, high)
    given = model_input()
    expected = reference_output(expert, given)
    error = relative_error(core_output(expert, given), expected)
    later = given | {"concat": given["concat"].roll(1, 2)}
    moved = given | {"concat": torch.cat((given["concat"][:, :4], given["concat"][:, 4:].roll(1, -1)), dim=1)}
    twins = {
        "expert swapped": core_output(other, given),
        "mask and picture a latent late": core_output(expert, later),
        "picture moved": core_output(expert, moved),
        "sigma off by a hundredth": core_output(expert, given | {"sigma": given["sigma"] + 0.01}),
    }
    wrong = {name: relative_error(value, expected) for name, value in twins.items()}
    print(
        f"\n{noise_level}: core against diffusers {error:.1e}; " + ", ".join(f"{k} {v:.1e}" for k, v in wrong.items())
    )
    assert error < 1e-4
    assert min(wrong.values()) > 1e-3
