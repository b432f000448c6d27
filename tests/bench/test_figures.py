"""What the GPU benchmarks reckon with: arithmetic of a job, seconds of a step, weight files of given shapes."""

import pytest
import torch
from safetensors import safe_open

from bench import one_job
from bench.floor import claims, wan_evaluation
from bench.one_job import Steps
from bench.true_weights import DEPTH, write_random
from worker.events import NodeProgress

PROMPT = {"7": {"_meta": {"title": "Sampler"}, "class_type": "KSampler", "inputs": {}}}


@pytest.mark.parametrize(("size", "tflop"), [((832, 480, 81), 1678), ((1280, 720, 81), 6523)])
def test_the_arithmetic_of_one_evaluation(size, tflop):
    assert wan_evaluation(*size) == pytest.approx(tflop, abs=1)


def test_forty_steps_in_the_claimed_times_are_impossible():
    impossible = {(claim.job, claim.card) for claim in claims() if claim.seconds < min(claim.floors)}
    assert {card for job, card in impossible if "40 steps" in job} == {
        *("RTX A6000 48 GB", "A100 80 GB", "H100 80 GB, H200"),
    }
    assert not any(job.startswith("animate") for job, _ in impossible)


def steps_at(monkeypatch, times: list[float]) -> Steps:
    """Steps that were told at these seconds, a first event of 0 before them."""
    steps = Steps()
    for number, now in enumerate([0.0, *times]):
        monkeypatch.setattr(one_job.time, "monotonic", lambda now=now: now)
        steps.hear(NodeProgress("7", float(number), float(len(times))), PROMPT)
    return steps


def test_many_steps_give_their_median_without_the_first_and_its_loading(monkeypatch):
    steps = steps_at(monkeypatch, [30.0 + 2 * number for number in range(12)])
    assert steps.figures({"Sampler": 60.0}) == {"Sampler": {"steps": 12, "s_per_step": 2.0}}


def test_of_few_steps_only_their_sum_is_known(monkeypatch):
    steps = steps_at(monkeypatch, [1.0, 1.1])
    assert steps.figures({"Sampler": 7.0}) == {"Sampler": {"steps": 2, "s_per_step": 3.5}}


def test_weight_files_have_the_types_and_shapes_asked_for(tmp_path):
    shapes = {
        "scaled_fp8": ("F8_E4M3", (0,)),
        "a.weight": ("F8_E4M3", (64, 48)),
        "a.scale_weight": ("F32", ()),
        "norm.weight": ("F16", (48,)),
        "b.bias": ("BF16", (4096,)),
    }
    path = tmp_path / "models" / "w.safetensors"
    write_random(path, shapes, {"words": torch.arange(5, dtype=torch.uint8)})
    with safe_open(path, "pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        **{name: shape for name, (_, shape) in shapes.items()},
        "words": (5,),
    }
    assert found["words"].tolist() == [0, 1, 2, 3, 4]
    stored = found["a.weight"].float() * found["a.scale_weight"]
    assert stored.std().item() == pytest.approx(DEPTH, rel=0.1)
    assert found["b.bias"].float().std().item() == pytest.approx(DEPTH, rel=0.1)
    assert (found["norm.weight"] == 1).all()
