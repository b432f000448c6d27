"""Holds the stand-in to the real ComfyUI: the same graph against both, and the same must be said of it."""

import copy
import json
import shutil
import time
import uuid
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from demo.sample import ASSETS
from demo.standin.graph_check import FILES, linked
from demo.standin.record import normalised
from demo.standin.server import RECORDED, StandIn
from worker.errors import JobError
from worker.events import Finished, Started
from worker.operations.avatar import Avatar, AvatarRequest

from .observing import counters, kinds, observe, records, run_order, shape, texts, told

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

SMALL = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0},
        "_meta": {"title": "Blank"},
    },
    "2": {
        "class_type": "SaveImage",
        "inputs": {"images": ["1", 0], "filename_prefix": "matches/still"},
        "_meta": {"title": "Save still"},
    },
}
TWO_OUTPUTS = {**SMALL, "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}
FAILING = {**SMALL, "2": {**SMALL["2"], "inputs": {"images": ["1", 0], "filename_prefix": "../outside/still"}}}
INPUTS = ("person.png", "driving.mp4")


def avatar_graph() -> dict[str, Any]:
    """What the worker submits for 6 frames, but in windows of 5 frames, so that there are two of them."""
    request = AvatarRequest(
        input_image_minio_path="p", driving_video_path="d", width=64, height=64, end_time=0.25, steps=2, seed=1
    )
    bound = Avatar().bind(
        request, {"picture": f"matches/{INPUTS[0]}", "driving": f"matches/{INPUTS[1]}"}, {}, "matches"
    )
    windows = next(node for node in bound.prompt.values() if node["class_type"] == "CMAnimateWindows")
    windows["inputs"] |= {"length": 5, "overlap": 1}
    return bound.prompt


GRAPHS = {"small": SMALL, "two outputs": TWO_OUTPUTS, "a node fails": FAILING, "avatar": avatar_graph()}


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    graph = copy.deepcopy(SMALL)
    change(graph)
    return graph


BAD_GRAPHS = {
    "unknown class": changed(lambda g: g["1"].update(class_type="NoSuchNode")),
    "no class": changed(lambda g: g["1"].pop("class_type")),
    "no output node": changed(lambda g: g.pop("2")),
    "input missing": changed(lambda g: g["1"]["inputs"].pop("width")),
    "too small": changed(lambda g: g["1"]["inputs"].update(width=0)),
    "too large": changed(lambda g: g["1"]["inputs"].update(width=10**6)),
    "not a number": changed(lambda g: g["1"]["inputs"].update(width="wide")),
    "not a choice": changed(
        lambda g: g.update(
            {
                "1": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["3", 0]}},
                "3": {"class_type": "VAELoader", "inputs": {"vae_name": ""}},
                "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
            }
        )
    ),
    "link to nothing": changed(lambda g: g["2"]["inputs"].update(images=["9", 0])),
    "half a link": changed(lambda g: g["2"]["inputs"].update(images=["1"])),
    "link to itself": changed(lambda g: g["2"]["inputs"].update(images=["2", 0])),
    "link of another type": changed(
        lambda g: g.update({"1": {"class_type": "VAELoader", "inputs": {"vae_name": "pixel_space"}}})
    ),
    "no such picture": changed(
        lambda g: g.update({"1": {"class_type": "LoadImage", "inputs": {"image": "not-there.png"}}})
    ),
    "good only in part": changed(lambda g: g.update({"3": {"class_type": "SaveImage", "inputs": {}}})),
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def standin(tmp_path_factory):
    server = StandIn(tmp_path_factory.mktemp("standin"))
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def inputs(engine, standin):
    """The files that the avatar graph names, for both; the real one has encoded its prompts already.

    The stand-in behaves like a ComfyUI that has them on disk, as every one has after its first job.
    """
    for folder in (engine.input_dir / "matches", standin.folders.input / "matches"):
        folder.mkdir()
        for name in INPUTS:
            shutil.copy(ASSETS / name, folder)
    graph = avatar_graph()
    prompts = [node_id for node_id, node in graph.items() if node["class_type"] == "CMEncodedPrompt"]
    texts_only = {node_id: graph[node_id] for node_id in {*prompts, *(graph[p]["inputs"]["clip"][0] for p in prompts)}}
    for prompt in prompts:
        preview = {"class_type": "PreviewAny", "inputs": {"source": [prompt, 0]}}
        await observe(engine.base_url, {**texts_only, "preview": preview})


@pytest.mark.parametrize("name", GRAPHS)
async def test_a_graph_is_told_and_kept_alike(engine, standin, inputs, name):
    graph = GRAPHS[name]
    async with engine.client() as client:
        await client.free_memory()  # results cached by an earlier test would leave messages out
    real, ours = await observe(engine.base_url, graph), await observe(standin.base_url, graph)
    assert kinds(ours["messages"]) == kinds(real["messages"])
    assert shape(ours["answer"]) == shape(real["answer"])
    assert records(ours) == records(real)
    assert told(ours) == told(real)
    # Which of two nodes that do not need one another comes first is ComfyUI's own affair: it looks ahead for outputs.
    assert sorted(run_order(ours["messages"])) == sorted(run_order(real["messages"]))
    assert texts(ours["messages"]) == texts(real["messages"])
    assert counters(ours["messages"]) == counters(real["messages"])
    for seen in (real, ours):
        assert_inputs_first(graph, run_order(seen["messages"]))


def assert_inputs_first(graph: dict[str, Any], order: list[str]) -> None:
    """Each node ran once, after every node of this run that it takes from; one with lazy inputs began twice."""
    place = {node_id: number for number, node_id in enumerate(order)}
    twice = [graph[node_id]["class_type"] for node_id in place if order.count(node_id) > 1]
    assert len(order) == len(place) + len(twice)
    assert set(twice) <= {"CMAnimateWindows"}
    for node_id in order:
        sources = [value[0] for value in graph[node_id]["inputs"].values() if linked(value)]
        assert all(place[source] < place[node_id] for source in sources if source in place), node_id


@pytest.mark.parametrize("name", BAD_GRAPHS)
async def test_a_bad_graph_is_refused_alike(engine, standin, name):
    real, ours = await observe(engine.base_url, BAD_GRAPHS[name]), await observe(standin.base_url, BAD_GRAPHS[name])
    for seen in (real, ours):
        for found in seen["answer"][1]["node_errors"].values():
            for error in found["errors"]:
                error["extra_info"].pop("traceback", None)
                (error["extra_info"].get("input_config") or [{}, {}])[1].pop("tooltip", None)
    assert ours["answer"][0] == real["answer"][0]
    assert ours["answer"][1].get("error") == real["answer"][1].get("error")
    assert _without_options(ours["answer"][1]["node_errors"]) == _without_options(real["answer"][1]["node_errors"])


def _without_options(node_errors: dict[str, Any]) -> dict[str, Any]:
    """The choices of this machine's files are in the text and in the options; the stand-in has none."""
    for found in node_errors.values():
        found["errors"].sort(key=str)  # ComfyUI looks at a node's inputs in the order of a set
        for error in found["errors"]:
            if error["type"] == "value_not_in_list":
                error["extra_info"].pop("input_config")
                error["details"] = error["details"].split(" not in ")[0]
            for option in error["extra_info"].get("input_config", [])[1:]:
                option.pop(FILES, None)
    return node_errors


async def test_a_prompt_id_of_another_form_is_refused_alike(engine, standin):
    answers = []
    for base_url in (engine.base_url, standin.base_url):
        async with aiohttp.ClientSession(base_url) as session:
            async with session.post("/prompt", json={"prompt": SMALL, "prompt_id": "job-1"}) as response:
                answers.append((response.status, (await response.json())["error"]["type"]))
            async with session.post("/api/jobs/job-1/cancel") as response:
                answers.append((response.status, await response.json()))
            async with session.get("/api/jobs/job-1") as response:
                answers.append((response.status, await response.json()))
            async with session.get("/history/job-1") as response:
                answers.append((response.status, await response.json()))
    assert answers[:4] == answers[4:]


async def test_the_client_gets_its_file_from_the_real_one(engine):
    prompt_id, deadline = str(uuid.uuid4()), time.monotonic() + 60
    async with engine.client() as client:
        await client.submit(SMALL, prompt_id, deadline)
        events = [event async for event in client.follow(prompt_id, deadline)]
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert engine.path_of(events[-1].outputs[0]).read_bytes().startswith(b"\x89PNG")


async def test_the_client_names_a_missing_model_of_the_real_one(engine):
    graph = copy.deepcopy(BAD_GRAPHS["not a choice"])
    graph["3"] |= {"inputs": {"vae_name": "not-there.safetensors"}, "_meta": {"title": "VAE"}}
    async with engine.client() as client:
        with pytest.raises(JobError, match=r"\"VAE\" \(VAELoader\): the model file 'not-there.safetensors'"):
            await client.submit(graph, str(uuid.uuid4()))


async def test_what_was_recorded_is_still_true(engine):
    """Fails when a node's inputs have changed: run `python -m demo.standin.record`."""
    async with engine.client() as client:
        real = await client.object_info()
    for name, recorded in json.loads(RECORDED.read_text(encoding="utf-8")).items():
        seen = normalised(real[name])
        for group in ("required", "optional"):
            for key, spec in recorded["input"].get(group, {}).items():
                if len(spec) > 1 and spec[1].get(FILES):  # what this machine has is no part of the description
                    seen["input"][group][key] = spec
        assert seen == recorded, name
