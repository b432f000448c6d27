"""A tiny Wan I2V and a MultiTalk patch for it, built in process from core's classes with random weights.

Call only after `import_comfyui`.
"""

from typing import Any

import torch

GRID = (3, 4, 6)  # latent frames, and tokens of a frame down and across
TOKENS, FRAME = 72, 24
DIM, HEADS, LAYERS, AUDIO = 160, 5, 2, 24  # the audio layers have 40 heads, whatever the network


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fill(module: torch.nn.Module, seed: int, scale: float) -> None:
    """Random weights that keep activations near 1; biases and norms too, so that none is left out unseen."""
    for number, (name, parameter) in enumerate(module.named_parameters()):
        values = noise(*parameter.shape, seed=seed + number)
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        values = values * scale * fan_in**-0.5 if parameter.ndim > 1 else values * 0.2
        with torch.no_grad():
            parameter.copy_(1 + values if "norm" in name and name.endswith("weight") else values)


class Whole(torch.nn.Module):
    """What core's ModelPatcher wraps."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.diffusion_model = network


def patcher(module: torch.nn.Module) -> Any:
    import comfy.model_patcher

    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(module, load_device=cpu, offload_device=cpu)


def tiny_wan(dim: int = DIM, layers: int = LAYERS) -> Any:
    """A MODEL: Wan2.1 I2V, 5 heads of 32."""
    import comfy.ops
    from comfy.ldm.wan.model import WanModel

    network = WanModel(
        "i2v", in_dim=36, dim=dim, ffn_dim=64, text_dim=32, freq_dim=16, num_heads=HEADS, num_layers=layers,
        cross_attn_norm=True, device="cpu", dtype=torch.float32, operations=comfy.ops.manual_cast,
    )  # fmt: skip
    fill(network, 100, 1.0)
    for block in network.blocks:  # so that tokens look at some and not at others, as in a trained network
        block.self_attn.norm_q.weight.mul_(2)
    return patcher(Whole(network.eval()))


def tiny_multitalk(layers: int = LAYERS) -> Any:
    """A MODEL_PATCH for it."""
    import comfy.ops
    from comfy_extras.nodes_model_patch import MultiTalkModelPatch

    model = MultiTalkModelPatch(
        intermediate_dim=16, in_dim=DIM, out_dim=AUDIO, num_layers=layers, device="cpu", dtype=torch.float32,
        operations=comfy.ops.manual_cast,
    )  # fmt: skip
    for number, block in enumerate(model.blocks):
        fill(block, 500 + 20 * number, 2.0)
    return patcher(model)


def masks() -> torch.Tensor:
    """[3, 24]: persons left and right, of unequal sizes, and the background."""
    rows = torch.zeros(3, *GRID[1:])
    rows[0, 1:, :2] = 1
    rows[1, 2:4, 3:6] = 1
    rows[2] = 1 - rows[:2].amax(0)
    return rows.flatten(1)


def evaluate(
    model: Any, conditions: list[int], *, only: int | None = None, patches: dict | None = None, extra: int = 0
):
    """One evaluation of the network; row n of the batch is condition `conditions[n]` with inputs of its own.

    only: this row alone. patches: instead of the model's. extra: reference frames behind the video.
    """
    rows = range(len(conditions)) if only is None else [only]
    network = model.get_model_object("diffusion_model")
    options = dict(model.model_options["transformer_options"])
    options["patches"] = options.get("patches", {}) if patches is None else patches
    options["cond_or_uncond"] = [conditions[row] for row in rows]

    def stack(*shape: int, seed: int) -> torch.Tensor:
        return torch.stack([noise(*shape, seed=seed + 1000 * row) for row in rows])

    behind = stack(36, extra, 8, 12, seed=9) if extra else None
    return network(
        stack(36, GRID[0], 8, 12, seed=1), torch.full((len(rows),), 700.0), stack(7, 32, seed=2),
        clip_fea=stack(5, 1280, seed=3), time_dim_concat=behind, transformer_options=options,
    )  # fmt: skip
