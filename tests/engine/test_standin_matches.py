"""Holds the stand-in to the real ComfyUI: the same graph against both, and the same must be said of it.

GRAPHS is the list of graphs to compare; a graph that needs models also needs them in the engine's model folder.
"""

import copy
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from demo.standin.graph_check import FILES
from demo.standin.record import normalised
from demo.standin.server import RECORDED, StandIn
from worker.errors import JobError
from worker.events import Finished, Started

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
GRAPHS = {"small": SMALL, "two outputs": TWO_OUTPUTS, "a node fails": FAILING}


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


async def observe(base_url: str, graph: dict[str, Any]) -> dict[str, Any]:
    """Everything a client can see of one prompt: answer, messages, history, job record."""
    prompt_id = str(uuid.uuid4())
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(base_url, timeout=timeout) as session:
        async with session.ws_connect(f"/ws?clientId={prompt_id}") as socket:
            await socket.send_json({"type": "feature_flags", "data": {}})
            messages = [await socket.receive_json(timeout=30) for _ in range(2)]
            body = {"prompt": graph, "prompt_id": prompt_id, "client_id": prompt_id}
            async with session.post("/prompt", json=body) as response:
                answer = response.status, await response.json()
            while answer[0] == 200:
                frame = await socket.receive(timeout=600)
                message = {"type": "text"} if frame.type is aiohttp.WSMsgType.BINARY else json.loads(frame.data)
                messages.append(message)
                if message["type"] == "executing" and message["data"]["node"] is None:
                    break
        records = {}
        for path in (f"/history/{prompt_id}", f"/api/jobs/{prompt_id}", "/queue"):
            async with session.get(path) as response:
                records[path.split("/")[1 if path == "/queue" else -2]] = response.status, await response.json()
    return {"answer": answer, "messages": messages, **records}


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    """The kinds in order, without repeats in a row; how often a node tells its progress is its own affair."""
    names = [message["type"] for message in messages if message["type"] not in ("progress", "text")]
    return [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]


def shape(value: Any) -> Any:
    """A value without what differs from run to run: keys and types stay, texts and numbers go, lists by their items."""
    if isinstance(value, dict):
        return {"<id>" if _is_id(key) else key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def _is_id(key: str) -> bool:
    return len(key) == 36 and key.count("-") == 4


def told(seen: dict[str, Any]) -> dict[str, Any]:
    """The shape of the first message of each kind, without the parts that only a real node has."""
    first: dict[str, Any] = {}
    for message in seen["messages"]:
        first.setdefault(message["type"], message)
    for message in first.values():
        _without_insides(message.get("data", {}))
    return {kind: shape(message) for kind, message in first.items() if kind not in ("progress", "text")}


def _without_insides(error: dict[str, Any]) -> None:
    """The traceback and the inputs of a failed node are real only in the real one."""
    for key in ("traceback", "current_inputs", "current_outputs", "executed"):
        if key in error:
            error[key] = []


def records(seen: dict[str, Any]) -> dict[str, Any]:
    """The shapes of history, job record and queue."""
    seen = copy.deepcopy(seen)
    job = seen["jobs"][1]
    _without_insides(job.get("execution_error", {}))
    histories = [*seen["history"][1].values(), {"status": job.get("execution_status") or {}}]
    for _, data in [message for history in histories for message in history["status"].get("messages", [])]:
        _without_insides(data)
    return shape({name: seen[name] for name in ("history", "jobs", "queue")})


@pytest.mark.parametrize("name", GRAPHS)
async def test_a_graph_is_told_and_kept_alike(engine, standin, name):
    async with engine.client() as client:
        await client.free_memory()  # results cached by an earlier test would leave messages out
    real, ours = await observe(engine.base_url, GRAPHS[name]), await observe(standin.base_url, GRAPHS[name])
    assert kinds(ours["messages"]) == kinds(real["messages"])
    assert shape(ours["answer"]) == shape(real["answer"])
    assert records(ours) == records(real)
    assert told(ours) == told(real)


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
