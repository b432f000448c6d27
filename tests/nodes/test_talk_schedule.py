"""MultiTalk's noise levels and its two guidance scales, against numbers worked out by hand."""

import itertools

import pytest
import torch

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.talk.guidance import Guidance
from custom_nodes.comfy_motion.talk.schedule import talk_sigmas


def test_three_steps_without_shift():
    assert torch.allclose(talk_sigmas(3, 1.0), torch.tensor([1.0, 0.5005, 0.001, 0.0]), atol=1e-7)


def test_the_shift_is_applied_to_each():
    # 7 * 0.5005 / (1 + 6 * 0.5005) and 0.007 / 1.006
    expected = torch.tensor([1.0, 3.5035 / 4.003, 0.007 / 1.006, 0.0])
    assert torch.allclose(talk_sigmas(3, 7.0), expected, atol=1e-7)


def test_the_turbo_schedule():
    # timesteps 1000, 667, 334, 1 with shift 2
    expected = torch.tensor([1.0, 1.334 / 1.667, 0.668 / 1.334, 0.002 / 1.001, 0.0])
    assert torch.allclose(talk_sigmas(4, 2.0), expected, atol=1e-7)


@pytest.mark.parametrize(("steps", "shift"), [(1, 7.0), (2, 11.0), (40, 7.0), (100, 0.5)])
def test_it_falls_from_one_to_nothing(steps, shift):
    sigmas = talk_sigmas(steps, shift)
    assert sigmas.dtype == torch.float32
    assert (len(sigmas), sigmas[0], sigmas[-1]) == (steps + 1, 1.0, 0.0)
    assert all(after < before for before, after in itertools.pairwise(sigmas.tolist()))


@pytest.mark.parametrize(("steps", "shift"), [(0, 7.0), (-1, 7.0), (4, 0.0), (4, -1.0), (4, float("nan"))])
def test_what_is_no_schedule_is_refused(steps, shift):
    with pytest.raises(MotionError, match="invalid_value"):
        talk_sigmas(steps, shift)


# With all 7, without the prompt 3, without both 1, without the voices 2.
VALUES = {"positive": 7.0, "negative": 3.0, "negative without voice": 1.0, "positive without voice": 2.0}
CASES = [
    (5.0, 4.0, ("positive", "negative", "negative without voice"), {2}, 1 + 5 * 4 + 4 * 2),
    (2.0, 4.0, ("positive", "negative", "negative without voice"), {2}, 1 + 2 * 4 + 4 * 2),
    (1.0, 4.0, ("positive", "positive without voice"), {1}, 2 + 4 * 5),
    (1.0, 2.0, ("positive", "positive without voice"), {1}, 2 + 2 * 5),
    (5.0, 1.0, ("positive", "negative"), set(), 3 + 5 * 4),
    (1.0, 1.0, ("positive",), set(), 7),
]


@pytest.mark.parametrize(("text", "audio", "evaluations", "silent", "expected"), CASES)
def test_what_is_evaluated_and_how_it_adds_up(text, audio, evaluations, silent, expected):
    guidance = Guidance(text, audio)
    assert guidance.evaluations == evaluations
    assert guidance.silent == silent
    made = [torch.full((1, 2), VALUES[name]) for name in evaluations]
    assert torch.equal(guidance.combine(made), torch.full((1, 2), float(expected)))


def test_a_scale_of_one_leaves_out_only_what_the_whole_rule_would_not_have_used():
    with_all, no_text, nothing = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
    whole = nothing + 5 * (with_all - no_text) + 1 * (no_text - nothing)
    assert torch.allclose(Guidance(5.0, 1.0).combine([with_all, no_text]), whole, atol=1e-5)


def test_results_that_are_missing_are_noticed():
    with pytest.raises(ValueError, match="2 results"):
        Guidance(5.0, 4.0).combine([torch.zeros(1), torch.zeros(1)])
