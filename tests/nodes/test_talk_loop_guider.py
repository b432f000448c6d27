"""The guider inside core's own batching, with a network that can be worked out by hand."""

import itertools
import types

import pytest
import torch

from custom_nodes.comfy_motion.talk.guidance import Guidance
from tests.engine.comfy_import import import_comfyui

pytestmark = pytest.mark.engine

TEXT = {"positive": 7.0, "negative": 3.0}
SHAPE = (1, 16, 4, 2, 2)


class Network:
    """The velocity is the text's number times x, less 2 where it hears silence; says what it was asked."""

    def __init__(self, silent, room: float):
        from comfy.model_sampling import CONST, ModelSamplingDiscreteFlow

        self.model_sampling = type("Wan", (ModelSamplingDiscreteFlow, CONST), {})()
        self.silent, self.asked, self.seen = silent, [], []
        self.current_patcher = types.SimpleNamespace(
            get_free_memory=lambda _device: room, prepare_state=lambda *_: None, apply_hooks=lambda **_: {}
        )

    def memory_required(self, shape, cond_shapes=None):
        return shape[0]

    def process_latent_in(self, latent):
        return latent * 2

    def apply_model(self, x, sigma, text, transformer_options, **_):
        order = transformer_options["cond_or_uncond"]
        self.asked.append(sorted(order))
        self.seen += list(x)
        factor = text.view(-1, 1, 1, 1, 1) - 2 * torch.tensor([n in self.silent for n in order]).view(-1, 1, 1, 1, 1)
        return self.model_sampling.calculate_denoised(sigma, factor * x, x)


@pytest.fixture
def guided(tmp_path_factory):
    """guided(text, audio, room, motion) -> a guider that is in the middle of a sampling, and its network."""
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    import comfy.conds

    from custom_nodes.comfy_motion.talk.guider import TalkGuider

    def make(text=5.0, audio=4.0, room=1e9, motion=None):
        patcher = types.SimpleNamespace(model_options={}, is_dynamic=lambda: False, model=None)
        guider = TalkGuider(patcher, Guidance(text, audio), motion, torch.Generator().manual_seed(9))
        told = [[[torch.zeros(1, 1, 1), {"name": name}]] for name in TEXT]
        guider.set_conds(*told)
        guider.inner_model = Network(guider.guidance.silent, room)
        guider.conds = {
            name: [{"model_conds": {"text": comfy.conds.CONDRegular(torch.tensor([TEXT[c["name"]]]))}, "uuid": name}]
            for name, (c,) in guider.original_conds.items()
        }
        return guider, guider.inner_model

    return make


def velocity(guider, x, sigma):
    return (x - guider.predict_noise(x, torch.tensor([sigma]), {})) / sigma


# (guidance, audio guidance): factor of x in the result, batches
CASES = {
    (5.0, 4.0): (1 + 5 * (7 - 3) + 4 * (3 - 1), [0, 1, 2]),
    (1.0, 4.0): (5 + 4 * (7 - 5), [0, 1]),
    (5.0, 1.0): (3 + 5 * (7 - 3), [0, 1]),
    (1.0, 1.0): (7, [0]),
}


@pytest.mark.parametrize(("scales", "expected"), CASES.items())
@pytest.mark.parametrize("room", [1e9, 0])
def test_the_rule_batched_and_one_by_one(guided, scales, expected, room):
    guider, network = guided(*scales, room=room)
    x = torch.randn(SHAPE)
    factor, evaluations = expected
    assert torch.allclose(velocity(guider, x, 0.5), factor * x, rtol=1e-4, atol=1e-4)
    if room:
        assert network.asked == [evaluations]
    else:
        assert sorted(network.asked) == [[n] for n in evaluations]


def motion_of(latents, noised):
    from custom_nodes.comfy_motion.talk.guider import Motion

    return Motion(latents, noised)


def test_known_latents_are_noised_afresh_to_the_level_of_each_evaluation(guided):
    import_comfyui(None)
    known = torch.randn(1, 16, 2, 2, 2)
    guider, network = guided(1.0, 1.0, motion=motion_of(known, noised=True))
    x, draws = torch.randn(SHAPE), torch.Generator().manual_seed(9)
    untouched = x.clone()
    for sigma in (1.0, 0.75, 0.75, 0.25):
        denoised = guider.predict_noise(x, torch.tensor([sigma]), {})
        noise = torch.randn(known.shape, generator=draws)
        assert torch.allclose(network.seen[-1][:, :2], (sigma * noise + (1 - sigma) * known * 2)[0], atol=1e-6)
        assert torch.equal(network.seen[-1][:, 2:], x[0, :, 2:])
        assert torch.equal(denoised[:, :, :2], known * 2)
    assert torch.equal(x, untouched)
    seen = [network.seen[n][:, :2] for n in (1, 2)]
    assert not torch.equal(*seen)


def test_infinitetalks_are_clean_in_every_evaluation(guided):
    known = torch.randn(1, 16, 1, 2, 2)
    guider, network = guided(5.0, 4.0, motion=motion_of(known, noised=False))
    for sigma in (1.0, 0.5):
        guider.predict_noise(torch.randn(SHAPE), torch.tensor([sigma]), {})
    assert len(network.seen) == 6
    assert all(torch.equal(x[:, :1], known[0] * 2) for x in network.seen)


def test_all_three_evaluations_of_a_step_see_the_same_noise(guided):
    guider, network = guided(5.0, 4.0, room=0, motion=motion_of(torch.randn(1, 16, 2, 2, 2), noised=True))
    guider.predict_noise(torch.randn(SHAPE), torch.tensor([0.5]), {})
    assert all(torch.equal(one, other) for one, other in itertools.pairwise(network.seen))


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "uni_pc"])
def test_with_any_sampler_the_known_latents_come_out_as_they_are(guided, sampler):
    import comfy.samplers

    known = torch.randn(1, 16, 2, 2, 2)
    guider, network = guided(1.0, 1.0, motion=motion_of(known, noised=True))
    sigmas = torch.tensor([1.0, 0.8, 0.4, 0.0])
    guider.inner_model.inner_model = network
    made = comfy.samplers.sampler_object(sampler).sample(
        guider, sigmas, {"model_options": {}, "seed": 1}, None, torch.randn(SHAPE), torch.zeros(SHAPE), None, True
    )
    assert torch.allclose(made[:, :, :2], known * 2, atol=0.02)  # uni_pc ends just above 0
