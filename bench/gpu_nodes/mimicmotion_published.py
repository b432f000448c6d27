"""The original's own UNet, diffusers', on the same weights; only where diffusers is installed."""

import importlib.util
import logging
import time
from pathlib import Path
from typing import Any

import comfy.utils
import torch

HIGHEST = 700.0
"""The noise level of the first step."""
TIME_IDS = [6.0, 127.0, 0.0]
GUIDANCE = 2.0


def build(path: Path) -> Any:
    """UNetSpatioTemporalConditionModel of the file's sizes, strictly of its tensors."""
    from diffusers import UNetSpatioTemporalConditionModel

    tensors = comfy.utils.load_torch_file(str(path), safe_load=True)
    weights = {name.removeprefix("unet."): value for name, value in tensors.items() if name.startswith("unet.")}
    levels = range(4)
    widths = [weights[f"down_blocks.{level}.resnets.0.spatial_res_block.conv1.weight"].shape[0] for level in levels]
    attentive = [f"down_blocks.{level}.attentions.0.norm.weight" in weights for level in levels]
    down = ["CrossAttnDownBlockSpatioTemporal" if there else "DownBlockSpatioTemporal" for there in attentive]
    up = ["CrossAttnUpBlockSpatioTemporal" if there else "UpBlockSpatioTemporal" for there in reversed(attentive)]
    heads = tuple(width // 64 for width in widths)
    unet = UNetSpatioTemporalConditionModel(
        block_out_channels=tuple(widths),
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        num_attention_heads=heads,
    )
    unet.load_state_dict(weights, strict=True)
    return unet.eval().requires_grad_(False)


@torch.inference_mode()
def published_step(
    path: Path, dtype: Any, device: Any, net: Any, pictures: torch.Tensor, told: Any, x: torch.Tensor, steps: int
) -> tuple[list[float], torch.Tensor] | None:
    """(seconds of each step but the first, what the first step sees without noise); None without diffusers.

    x: [frames, 4, h, w] at the highest noise level. Two calls a step, PoseNet for all frames before the second. All
    steps see the same latents: Euler's own arithmetic takes no time that could be measured.
    """
    if importlib.util.find_spec("diffusers") is None:
        logging.info("diffusers is not installed: its UNet is not timed")
        return None
    unet = build(path).to(device, dtype)
    (embedding, said), *_ = told[0]
    picture = said["concat_latent_image"].to(device, dtype).expand(len(x), -1, -1, -1)[None]
    given = (x.to(device) / (HIGHEST**2 + 1) ** 0.5).to(dtype)[None]
    embedding, ids = embedding.to(device, dtype), torch.tensor([TIME_IDS], device=device, dtype=dtype)
    when, seconds, guided = 0.25 * torch.tensor(HIGHEST).log().to(device), [], given
    for _ in range(steps):
        began = _now()
        blank = unet(torch.cat([given, picture * 0], 2), when, embedding * 0, ids, return_dict=False)[0]
        poses = net(pictures)
        handle = unet.conv_in.register_forward_hook(lambda _module, _given, made, poses=poses: made + poses)
        shown = unet(torch.cat([given, picture], 2), when, embedding, ids, return_dict=False)[0]
        handle.remove()
        guided = blank + GUIDANCE * (shown - blank)
        seconds.append(round(_now() - began, 4))
    skip, scale = 1 / (HIGHEST**2 + 1), HIGHEST / (HIGHEST**2 + 1) ** 0.5
    return seconds[1:], (x.to(device) * skip - guided[0].float() * scale).cpu()


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()
