"""The pinned i2v graphs, run whole on the real ComfyUI, against an independent video model with the same files."""

import numpy as np
import pytest
import torch

from .i2v_reference import Reference, picture
from .i2v_world import (
    FRAMES,
    NEGATIVE,
    PROMPTS,
    SEED,
    latents,
    relative_error,
    run,
    small,
    start_image,
    with_latents,
)

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

HIGH, LOW = (f"wan2.2_i2v_{noise}_noise_14B_fp8_scaled.safetensors" for noise in ("high", "low"))
STEPS = 4  # sigmas at shift 5: 1, 0.94 for the high-noise expert; 0.83, 0.63 for the low-noise one
GRAPHS = {"i2v": 5.0, "i2v_turbo": 1.0}
"""{graph: guidance}, as pinned."""
TWINS = {
    "experts swapped": {"High-noise model": {"unet_name": LOW}, "Low-noise model": {"unet_name": HIGH}},
    "boundary 0.5": {"Split at boundary": {"boundary": 0.5}},
    "shift 8": {"High-noise shift": {"shift": 8.0}, "Low-noise shift": {"shift": 8.0}},
    "picture one pixel to the right": {"Start image": {"image": "moved.png"}},
}


@pytest.fixture(scope="module", autouse=True)
def as_in_comfyui():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


async def graph_latents(engine, name: str, changes: dict | None = None):
    """What the graph's last sampler gives, and the run."""
    ran = await run(engine, with_latents(small(name, "start.png", f"fidelity-{name}", STEPS, changes)))
    return latents(ran), ran


def reference_latents(reference: Reference, image, guidance: float) -> torch.Tensor:
    return reference.sample(image, PROMPTS[0], NEGATIVE, frames=FRAMES, steps=STEPS, guidance=guidance, seed=SEED)


@pytest.mark.parametrize("name", GRAPHS)
async def test_the_graph_makes_the_latents_of_the_reference(engine, models, name):
    """Text, picture, noise, schedule, experts and guidance: all of it is made a second time, without core."""
    image = picture(engine.input_dir / start_image(engine))
    reference = Reference.of(models, turbo=name == "i2v_turbo")
    expected = reference_latents(reference, image, GRAPHS[name])
    value, ran = await graph_latents(engine, name)
    error = relative_error(value, expected)
    frame = (reference.decode(expected)[-1] * 255).numpy()
    off = np.abs(ran.last_frame - frame).max()
    print(
        f"\n{name}: latents of the graph against the reference {error:.1e}; last frame off by at most {off:.2f} of 255"
    )
    assert error < 1e-4
    assert off < 0.51  # rounding to 8 bits
    assert frame.std() > 5


async def test_each_twin_of_the_graph_is_another_video(engine, models):
    image = picture(engine.input_dir / start_image(engine))
    start_image(engine, "moved.png", shift=1)
    expected = reference_latents(Reference.of(models), image, GRAPHS["i2v"])
    wrong = {}
    for twin, changes in TWINS.items():
        value, _ = await graph_latents(engine, "i2v", changes)
        wrong[twin] = relative_error(value, expected)
    print("\n" + ", ".join(f"{twin} {error:.1e}" for twin, error in wrong.items()))
    assert min(wrong.values()) > 1e-2


async def test_the_turbo_loras_are_at_work(engine, models):
    """At strength 0 the turbo graph is the model without them, at its own guidance."""
    image = picture(engine.input_dir / start_image(engine))
    off = {title: {"strength_model": 0.0} for title in ("High-noise LoRA", "Low-noise LoRA")}
    without, _ = await graph_latents(engine, "i2v_turbo", off)
    plain = reference_latents(Reference.of(models), image, 1.0)
    with_them = reference_latents(Reference.of(models, turbo=True), image, 1.0)
    assert relative_error(without, plain) < 1e-4
    assert relative_error(without, with_them) > 1e-2
