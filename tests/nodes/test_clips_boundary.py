"""The schedule split between two experts: by the noise level, whatever the steps and the shift are."""

import types

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.clips.boundary import split_at_boundary
from custom_nodes.comfy_motion.errors import MotionError
from tests.engine.comfy_import import import_comfyui


def shifted(levels: torch.Tensor, shift: float) -> torch.Tensor:
    return shift * levels / (1 + (shift - 1) * levels)


def schedule(steps: int, shift: float, start: float = 1.0) -> torch.Tensor:
    return shifted(torch.linspace(start, 0, steps + 1), shift)


@given(st.integers(1, 100), st.floats(1, 12), st.floats(0.1, 1), st.floats(0, 1))
def test_every_evaluation_belongs_to_one_expert(steps, shift, start, boundary):
    sigmas = schedule(steps, shift, start)
    high, low = split_at_boundary(sigmas, boundary)
    assert torch.equal(torch.cat([high[:-1], low[:-1]]), sigmas[:-1])  # none lost, doubled or moved
    assert torch.equal(high[-1], low[0])
    assert torch.equal(low[-1], sigmas[-1])
    assert (high[:-1] >= boundary).all()
    assert (low[:-1] < boundary).all()


def test_forty_steps_split_where_the_authors_do():
    # Wan's own schedule (fm_solvers_unipc.py, image2video.py): sigmas evenly from 0.999 without the end, shifted,
    # timesteps cut to whole numbers, the high-noise expert from 900 on.
    sigmas = shifted(torch.linspace(1 - 1 / 1000, 0, 41, dtype=torch.float64)[:-1], 5.0)
    experts = [int(1000 * sigma) >= 900 for sigma in sigmas.tolist()]
    high, low = split_at_boundary(torch.cat([sigmas, torch.zeros(1)]), 0.9)
    assert (len(high) - 1, len(low) - 1) == (sum(experts), experts.count(False)) == (15, 25)


@pytest.mark.engine
@pytest.mark.parametrize(("steps", "shift"), [(40, 5.0), (4, 5.0), (20, 8.0), (50, 3.0)])
def test_cores_schedule_splits_where_the_authors_do(flow, steps, shift):
    import comfy.samplers

    flow.set_parameters(shift=shift)
    sigmas = comfy.samplers.calculate_sigmas(flow, "simple", steps)
    high, low = split_at_boundary(sigmas, 0.9)
    authors = shifted(torch.linspace(0.999, 0, steps + 1, dtype=torch.float64)[:-1], shift)
    assert len(high) - 1 == sum(int(1000 * sigma) >= 900 for sigma in authors.tolist())
    assert len(high) + len(low) == steps + 2
    if (steps, shift) == (40, 5.0):
        assert (len(high) - 1, len(low) - 1) == (15, 25)


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    """Core's sampling of Wan: flow matching with discrete steps."""
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    from comfy.model_sampling import CONST, ModelSamplingDiscreteFlow

    return type("Wan", (ModelSamplingDiscreteFlow, CONST), {})()


def sampled(flow, sigmas: torch.Tensor, noise: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
    """What core's sampler makes of a schedule, with a model that draws everything towards 0.3."""
    import comfy.samplers

    class Model:
        inner_model = types.SimpleNamespace(model_sampling=flow)
        model_patcher, cfg = types.SimpleNamespace(model=None), 1.0  # core writes them to its log

        def __call__(self, x, sigma, **_):
            return x - (x - 0.3) * sigma.reshape(-1, 1, 1, 1)

    sampler = comfy.samplers.ksampler("euler")
    return sampler.sample(Model(), sigmas, {}, None, noise, latent, disable_pbar=True)


@pytest.mark.engine
@pytest.mark.parametrize("boundary", [0.0, 0.5, 0.875, 0.9, 1.0])
@pytest.mark.parametrize("start", [1.0, 0.8])
def test_two_stages_are_one_in_core_even_where_an_expert_has_nothing_to_do(flow, boundary, start):
    noise, latent = torch.randn(1, 4, 3, 3), torch.randn(1, 4, 3, 3)
    sigmas = schedule(8, 5.0, start)
    whole = sampled(flow, sigmas, noise, latent)
    high, low = split_at_boundary(sigmas, boundary)
    assert (len(high) == 1) == (float(sigmas[0]) < boundary)  # both edges are among the cases
    assert (len(low) == 1) == (boundary == 0.0)
    between = sampled(flow, high, noise, latent)
    parts = sampled(flow, low, torch.zeros_like(noise), between)
    assert torch.allclose(parts, whole, atol=1e-5)


def test_what_cannot_be_split_is_refused():
    for boundary in (-0.1, 1.1):
        with pytest.raises(MotionError, match=r"invalid_value.*boundary"):
            split_at_boundary(schedule(4, 5.0), boundary)
    with pytest.raises(MotionError, match="do not fall"):
        split_at_boundary(torch.tensor([1.0, 0.5, 0.95, 0.0]), 0.9)


def test_nothing_stays_nothing():
    high, low = split_at_boundary(torch.zeros(0), 0.9)
    assert len(high) == len(low) == 0
