"""Runs the stand-in's prompts one after the other and tells of it what ComfyUI tells, in its order."""

import asyncio
import struct
import sys
from typing import Any, Protocol

from demo.standin.faults import DOOMED_MARK, Kind, NodeFailure, node_failure
from demo.standin.sockets import Sockets
from demo.standin.table import Prompt, Table, now_ms
from demo.standin.work import GENERATED, Card, Folders, card_of, leave_output, missing_output, run_order, steps_of


class Server(Protocol):
    """The part of the server that the runner talks through."""

    sockets: Sockets

    async def send_status(self) -> None: ...
    def hang(self) -> None: ...
    def crash(self) -> None: ...


class Runner:
    """`await run_for_ever()`; `current` is (client id, node id) of what runs now, for a client that comes back."""

    def __init__(self, server: Server, table: Table, info: dict[str, Any], folders: Folders, step_seconds: float):
        self._server, self._table, self._info, self._folders = server, table, info, folders
        self._step_seconds = step_seconds
        self._states: dict[str, dict[str, Any]] = {}
        self.current: tuple[str | None, str | None] = (None, None)

    async def run_for_ever(self) -> None:
        """One prompt after the other."""
        while True:
            prompt = await self._table.next()
            await self._server.send_status()
            await self._run(prompt)
            self.current = (None, None)
            await self._server.send_status()
            await self._server.sockets.send(
                "executing", {"node": None, "prompt_id": prompt.prompt_id}, prompt.client_id
            )
            if _is(prompt, Kind.DROP_SOCKET):
                self._server.sockets.refuse = False

    async def _run(self, prompt: Prompt) -> None:
        if _is(prompt, Kind.HANG_HTTP):
            self._server.hang()
        if _is(prompt, Kind.HANG_HTTP) or _is(prompt, Kind.SILENT):
            await asyncio.Event().wait()
        self._states = {}
        await self._tell(prompt, "execution_start", {})
        await self._tell(prompt, "execution_cached", {"nodes": []})
        done: list[str] = []
        node_id = ""
        try:
            card = Card()
            order = run_order(prompt.graph, prompt.outputs_to_run, self._info)
            for place, (node_id, asks) in enumerate(order):
                await self._start_node(prompt, node_id)
                if asks:
                    continue
                if prompt.graph[node_id]["class_type"] in ("CMResampleVideo", *GENERATED):
                    card = await asyncio.to_thread(card_of, prompt.graph, self._folders)
                if place == max(0, len(order) - 2):
                    await self._do_fault(prompt)
                await self._steps(prompt, node_id, card)
                await self._output(prompt, node_id, card)
                await self._state(prompt, node_id, 1.0, 1.0, "finished")
                done.append(node_id)
        except NodeFailure as failure:
            await self._tell(prompt, "execution_error", _report(prompt, node_id, done, failure))
            prompt.status = "failed"
        except InterruptedError:
            facts = {"node_id": node_id, "node_type": prompt.graph[node_id]["class_type"], "executed": done}
            await self._tell(prompt, "execution_interrupted", facts)
            prompt.status = "cancelled"
        else:
            await self._tell(prompt, "execution_success", {})
            prompt.status = "completed"

    async def _start_node(self, prompt: Prompt, node_id: str) -> None:
        _stop_if_interrupted(prompt)
        self.current = (prompt.client_id, node_id)
        await self._state(prompt, node_id, 0.0, 1.0, "running")
        facts = {"node": node_id, "display_node": node_id, "prompt_id": prompt.prompt_id}
        await self._server.sockets.send("executing", facts, prompt.client_id)

    async def _steps(self, prompt: Prompt, node_id: str, card: Card) -> None:
        """The progress of one node; this is where an interrupt takes hold, as in ComfyUI."""
        windows, steps = steps_of(prompt.graph[node_id], prompt.graph, card)
        pause = float(prompt.fault.detail or 1.0) if prompt.fault and prompt.fault.kind is Kind.SLOW else None
        for step in range(1, windows * steps + 1):
            if (step - 1) % steps == 0 and prompt.graph[node_id]["class_type"] == "CMAnimateWindows":
                await self._text(prompt, node_id, f"window {(step - 1) // steps + 1} of {windows}")
            await self._sleep(prompt, self._step_seconds if pause is None else pause)
            await self._state(prompt, node_id, float(step), float(windows * steps), "running")
            facts = {"value": step, "max": windows * steps, "prompt_id": prompt.prompt_id, "node": node_id}
            await self._server.sockets.send("progress", facts, prompt.client_id)
        if not steps and pause is not None:
            await self._sleep(prompt, pause)

    async def _sleep(self, prompt: Prompt, seconds: float) -> None:
        try:
            await asyncio.wait_for(prompt.interrupted.wait(), seconds)
        except TimeoutError:
            return
        _stop_if_interrupted(prompt)

    async def _do_fault(self, prompt: Prompt) -> None:
        """The faults of mid-job, at the last node but one."""
        if failure := node_failure(prompt.fault):
            raise failure
        if _is(prompt, Kind.DOOMED):
            (self._folders.base / DOOMED_MARK).touch()
        if _is(prompt, Kind.CRASH) or _is(prompt, Kind.DOOMED):
            print("Fatal Python error: the stand-in was told to crash", file=sys.stderr, flush=True)
            self._server.crash()
            await asyncio.Event().wait()
        if _is(prompt, Kind.DROP_SOCKET):
            self._server.sockets.refuse = True
            self._server.sockets.abort()
            await asyncio.sleep(0.3)

    async def _output(self, prompt: Prompt, node_id: str, card: Card) -> None:
        node = prompt.graph[node_id]
        if _is(prompt, Kind.NO_OUTPUT) or not self._info[node["class_type"]]["output_node"]:
            return
        output = await asyncio.to_thread(leave_output, node, prompt.graph, self._folders, card)
        if output is None:
            return
        if _is(prompt, Kind.MISSING_FILE):
            missing_output(output, self._folders)
        prompt.outputs[node_id] = output
        facts = {"node": node_id, "display_node": node_id, "output": output, "prompt_id": prompt.prompt_id}
        await self._server.sockets.send("executed", facts, prompt.client_id)

    async def _state(self, prompt: Prompt, node_id: str, value: float, maximum: float, state: str) -> None:
        """progress_state: every node that was begun, with how far it is."""
        self._states[node_id] = {
            "value": value,
            "max": maximum,
            "state": state,
            "node_id": node_id,
            "prompt_id": prompt.prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }
        facts = {"prompt_id": prompt.prompt_id, "nodes": self._states}
        await self._server.sockets.send("progress_state", facts, prompt.client_id)

    async def _text(self, prompt: Prompt, node_id: str, text: str) -> None:
        name = node_id.encode()
        await self._server.sockets.send_bytes(struct.pack(">II", 3, len(name)) + name + text.encode(), prompt.client_id)

    async def _tell(self, prompt: Prompt, event: str, facts: dict[str, Any]) -> None:
        """A message that history keeps too."""
        data = {"prompt_id": prompt.prompt_id, **facts, "timestamp": now_ms()}
        prompt.messages.append((event, data))
        await self._server.sockets.send(event, data, prompt.client_id)


def _is(prompt: Prompt, kind: Kind) -> bool:
    return prompt.fault is not None and prompt.fault.kind is kind


def _stop_if_interrupted(prompt: Prompt) -> None:
    if prompt.interrupted.is_set():
        raise InterruptedError


def _report(prompt: Prompt, node_id: str, done: list[str], failure: NodeFailure) -> dict[str, Any]:
    place = f'  File "standin/work.py", line 1, in execute\n    raise {failure.exception_type}\n'
    return {
        "node_id": node_id,
        "node_type": prompt.graph[node_id]["class_type"],
        "executed": done,
        "exception_message": f"{failure.message}\n",
        "exception_type": failure.exception_type,
        "traceback": [place],
        "current_inputs": {},
        "current_outputs": done,
    }
