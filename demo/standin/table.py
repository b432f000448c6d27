"""The stand-in's prompts, and the records of them in ComfyUI's shapes. No network here."""

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from demo.standin.faults import Fault


def is_canonical_uuid(text: Any) -> bool:
    """A UUID in lower case with hyphens, as ComfyUI wants a prompt id."""
    try:
        return isinstance(text, str) and str(uuid.UUID(text)) == text
    except ValueError:
        return False


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


@dataclass
class Prompt:
    """One submitted graph. `status` as in /api/jobs; `messages` are the ones that history keeps."""

    number: float
    prompt_id: str
    graph: dict[str, Any]
    extra_data: dict[str, Any]
    outputs_to_run: list[str]
    fault: Fault | None = None
    status: str = "pending"
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def client_id(self) -> str | None:
        """Whose websocket gets the news."""
        return self.extra_data.get("client_id")

    def item(self) -> list[Any]:
        """As in /queue and in history."""
        return [self.number, self.prompt_id, self.graph, self.extra_data, self.outputs_to_run]

    def history(self) -> dict[str, Any]:
        """As /history/{id} has it."""
        good = self.status == "completed"
        meta = {
            node_id: {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
            for node_id in self.outputs
        }
        status = {"status_str": "success" if good else "error", "completed": good, "messages": self.messages}
        return {"prompt": self.item(), "outputs": self.outputs, "status": status, "meta": meta}

    def job(self) -> dict[str, Any]:
        """As /api/jobs/{id} has it."""
        record = {
            "id": self.prompt_id,
            "status": self.status,
            "priority": self.number,
            "create_time": self.extra_data.get("create_time"),
            "outputs_count": 0,
            "previewable_outputs_count": 0,
        }
        if self.status in ("pending", "in_progress"):
            return record
        told = dict(self.messages)
        last = self.messages[-1]
        files = [
            {**item, "nodeId": node_id, "mediaType": kind}
            for node_id, kinds in self.outputs.items()
            for kind, items in kinds.items()
            for item in items
            if isinstance(item, dict)
        ]
        record |= {"execution_start_time": told.get("execution_start", {}).get("timestamp")}
        record |= {"execution_end_time": last[1].get("timestamp")}
        record |= {"execution_error": last[1]} if last[0] == "execution_error" else {}
        record |= {"outputs_count": len(files), "previewable_outputs_count": len(files)}
        record |= {"preview_output": files[0]} if files else {}
        record |= {"outputs": self.outputs, "execution_status": self.history()["status"]}
        return record | {"workflow": {"prompt": self.graph, "extra_data": self.extra_data}}


class Table:
    """Every prompt by its id: waiting, running, over."""

    def __init__(self) -> None:
        self._prompts: dict[str, Prompt] = {}
        self._changed = asyncio.Event()
        self._count = 0

    def add(self, prompt: Prompt) -> None:
        """Put it at the end of the queue."""
        prompt.extra_data["create_time"] = now_ms()
        self._prompts[prompt.prompt_id] = prompt
        self._changed.set()

    def next_number(self) -> int:
        """0, 1, 2, ..."""
        self._count += 1
        return self._count - 1

    async def next(self) -> Prompt:
        """Wait for the first in the queue; it runs from now on."""
        while not (waiting := self.with_status("pending")):
            self._changed.clear()
            await self._changed.wait()
        waiting[0].status = "in_progress"
        return waiting[0]

    def get(self, prompt_id: str) -> Prompt | None:
        """The prompt, in whatever state."""
        return self._prompts.get(prompt_id)

    def with_status(self, *statuses: str) -> list[Prompt]:
        """The prompts in these states, oldest first."""
        return [prompt for prompt in self._prompts.values() if prompt.status in statuses]

    def remove(self, prompt_id: str) -> bool:
        """Take a waiting prompt out of the queue; False where none waits under this id."""
        prompt = self._prompts.get(prompt_id)
        if prompt is None or prompt.status != "pending":
            return False
        del self._prompts[prompt_id]
        return True

    def interrupt(self, prompt_id: str | None) -> bool:
        """Interrupt the running prompt, if it is this one (None: whichever)."""
        running = [one for one in self.with_status("in_progress") if prompt_id in (None, one.prompt_id)]
        for prompt in running:
            prompt.interrupted.set()
        return bool(running)
