"""bench/multitalk_gpu.py: what its table says of given figures, and the whole of it on a CPU."""

import asyncio
import copy
import json
import math
import os
import shutil
import sys

import pytest

from bench import multitalk_gpu
from demo.tiny import tiny_models
from tests.engine.conftest import MODELS, skip_without_comfyui
from worker.errors import JobError
from worker.find_comfyui import find_comfyui
from worker.settings import Settings

MAP = "relative L2 of the first map"
NEAR = {"finite": True, "relative L2": 1e-3, MAP: 0.05, "positions": 1e-5}
GOOD = {
    "torch": "2",
    "cuda": "13",
    "cudnn": 9,
    "type": "half",
    **{f"slow formula against ours, {number}": dict(NEAR) for number in multitalk_gpu.SPEAKERS},
    "relative L2 from ours, two speakers": {"voices swapped": 0.5, "sound rounded once more": 1e-3},
    **{f"{whose}, one speaker": {"median_s": 2.0} for whose in ("ours", "core")},
    "ours, two speakers": {"median_s": 2.1},
    "core, two speakers": {"median_s": 2.6},
}


def verdict(change=lambda figures: None) -> str:
    figures = copy.deepcopy(GOOD)
    change(figures)
    return multitalk_gpu.speed_lines(figures)[-1]


def test_two_speakers_by_one_is_what_is_judged():
    assert multitalk_gpu.ratio(GOOD, "core") == pytest.approx(1.3)
    assert verdict().endswith("1.08: reached")
    assert "NOT REACHED" in verdict(lambda figures: figures["ours, two speakers"].update(median_s=2.17))


@pytest.mark.parametrize("number", multitalk_gpu.SPEAKERS)
@pytest.mark.parametrize(("what", "seen"), [("relative L2", 0.03), ("relative L2", math.nan), ("finite", False)])
def test_figures_of_outputs_that_differ_mean_nothing(number, what, seen):
    told = f"slow formula against ours, {number}"
    assert "MEANS NOTHING" in verdict(lambda figures: figures[told].update({what: seen}))


@pytest.mark.parametrize(("what", "seen"), [(MAP, 0.5), (MAP, math.nan), ("positions", 1.0)])
def test_so_they_do_where_the_map_or_a_position_differs(what, seen):
    told = "slow formula against ours, two speakers"
    assert "MEANS NOTHING" in verdict(lambda figures: figures[told].update({what: seen}))


def test_so_they_do_where_nobody_could_tell_the_voices_apart():
    told = "relative L2 from ours, two speakers"
    assert "MEANS NOTHING" in verdict(lambda figures: figures[told].update({"voices swapped": 2e-3}))


def detectors() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (MODELS / "detection").iterdir()}


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory):
    """The program's figures with --tiny, and what it printed."""
    try:
        find_comfyui(Settings())
    except JobError as error:
        skip_without_comfyui(error)
    folder = tmp_path_factory.mktemp("bench")
    shutil.copytree(tiny_models(MODELS), folder / "tiny", copy_function=os.link)
    before = detectors()
    command = [sys.executable, "-m", "bench.multitalk_gpu", folder, "--tiny", "--timed", "1"]
    command += ["--json", folder / "found"]

    async def run() -> str:
        program = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        said, _ = await asyncio.wait_for(program.communicate(), 300)
        assert program.returncode == 0
        return said.decode()

    said = asyncio.run(run())
    assert detectors() == before, "the bench wrote through a link"
    return json.loads((folder / "found").read_text()), said


@pytest.mark.engine
def test_an_evaluation_is_the_slow_formula_before_it_is_timed(rehearsal):
    speed, said = rehearsal[0]["speed"], rehearsal[1]
    assert multitalk_gpu.agrees(speed)
    one, two = (speed[f"slow formula against ours, {number}"] for number in multitalk_gpu.SPEAKERS)
    assert max(one["relative L2"], two["relative L2"], two[MAP]) < 1e-5
    assert two["positions"] < 1e-4
    others = speed["relative L2 from ours, two speakers"]
    assert others.pop("sound rounded once more") < 1e-5
    assert min(others.values()) > 0.1
    ways = [f"{whose}, {number}" for whose in ("ours", "core") for number in multitalk_gpu.SPEAKERS]
    assert [len(speed[way]["steps_s"]) for way in ways] == [1] * 4
    assert "4x40 heads, 16 x 64: flash_attention_for_cpu, 2 calls" in said


@pytest.mark.engine
@pytest.mark.parametrize(("name", "steps"), [("full guidance, 2 steps", 2), ("turbo, 4 steps", 4)])
def test_every_stage_of_a_whole_job_is_timed(rehearsal, name, steps):
    job = rehearsal[0]["stages"][name]
    assert job["mp4"] == "right"
    seen = [each["stage"] for each in job["talk"]]
    assert seen == ["picture (CLIP vision, VAE)", "voices to tokens", *["one step"] * steps, "sampling", "decoding"]
    assert sum(each["seconds"] for each in job["talk"] if each["stage"] != "one step") <= job["nodes"]["Talk"]
    assert job["nodes"].keys() <= {title for titles in multitalk_gpu.STAGES.values() for title in titles}
    assert f"{name}: " in rehearsal[1]
