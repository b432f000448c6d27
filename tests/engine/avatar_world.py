"""What the tests of the tiny Wan-Animate share: core with the tiny files loaded, and random inputs."""

import types

import pytest
import torch

from .comfy_import import import_comfyui

WIDTH, HEIGHT, LENGTH, OVERLAP, FRAMES = 64, 48, 5, 1, 11  # 5 + 4 + 2 new frames: three windows
STEPS = 2


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    base = tmp_path_factory.mktemp("comfyui")
    import_comfyui(base)
    import comfy.samplers
    import comfy.sd
    import comfy.utils

    from demo import tiny_nodes, tiny_wan

    files = tiny_wan.write_tiny_wan(base / "models", vae_width=2)
    vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(files[tiny_wan.VAE])), dtype=torch.float32)
    model = comfy.sd.load_diffusion_model(str(files[tiny_wan.MODEL]), model_options={"dtype": torch.float32})
    return types.SimpleNamespace(files=files, names=tiny_wan, vae=vae, model=model, tiny_nodes=tiny_nodes, comfy=comfy)


@pytest.fixture(autouse=True)
def as_in_comfyui():
    with torch.inference_mode():
        yield


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def faces(frames: int) -> torch.Tensor:
    """[frames, 512, 512, 3] in 0..1: waves that differ from frame to frame as one face from another."""
    place = torch.linspace(0, 1, 512)
    waves = [torch.sin(place[:, None] * 7 * (n + 1)) * torch.cos(place[None] * (40 - 9 * n)) for n in range(frames)]
    return torch.stack(waves).unsqueeze(-1) * torch.tensor([0.5, 0.3, -0.4]) + 0.5
