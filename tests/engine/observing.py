"""What a client can see of one prompt, and what of it must be alike on the stand-in and on the real ComfyUI."""

import copy
import json
import struct
import uuid
from typing import Any

import aiohttp


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
                message = _text(frame.data) if frame.type is aiohttp.WSMsgType.BINARY else json.loads(frame.data)
                messages.append(message)
                if message["type"] == "executing" and message["data"]["node"] is None:
                    break
        records = {}
        for path in (f"/history/{prompt_id}", f"/api/jobs/{prompt_id}", "/queue"):
            async with session.get(path) as response:
                records[path.split("/")[1 if path == "/queue" else -2]] = response.status, await response.json()
    return {"answer": answer, "messages": messages, **records}


def _text(data: bytes) -> dict[str, Any]:
    """A binary message of a node's own words: kind 3, length of the node's id, the id, the text."""
    kind, length = struct.unpack_from(">II", data)
    assert kind == 3, f"a binary message of kind {kind}"
    return {"type": "text", "node": data[8 : 8 + length].decode(), "text": data[8 + length :].decode()}


def texts(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(node, its words), in order."""
    return [(message["node"], message["text"]) for message in messages if message["type"] == "text"]


def run_order(messages: list[dict[str, Any]]) -> list[str]:
    """The nodes that were run, in order."""
    return [message["data"]["node"] for message in messages if message["type"] == "executing"][:-1]


def counters(messages: list[dict[str, Any]]) -> set[str]:
    """The nodes that count their steps, and get to the end of it."""
    last = {m["data"]["node"]: m["data"] for m in messages if m["type"] == "progress"}
    return {node for node, data in last.items() if data["value"] == data["max"]}


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
    if state := first.get("progress_state", {}).get("data"):
        state["nodes"] = list(state["nodes"].values())  # keyed by node, and it may be another one that is first
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
