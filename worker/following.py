"""What `ComfyClient.follow` keeps in mind, and how it reads ComfyUI's record of a prompt. No network here."""

import time
from collections.abc import Mapping
from typing import Any

from worker.comfy_errors import failure, node_name
from worker.errors import JobError
from worker.events import EndHint, Event, Finished, NodeStarted, output_files, said_besides
from worker.news import Silence


class Following:
    """How one `follow` stands: when to ask for the truth again, when to give up, and where the prompt was last seen."""

    def __init__(self, deadline: float, unreachable_seconds: float, prompt: Mapping[str, Any]):
        self.deadline, self.answers = deadline, True
        self._unreachable_seconds, self._prompt = unreachable_seconds, prompt
        self._last_sign = time.monotonic()
        self._next_look = self._last_sign + 0.5  # news first: a short prompt may be over before anyone has read it
        self._hurry = 0.0
        self._node: str | None = None

    def look_due(self) -> bool:
        """Is it time to ask for the truth?"""
        return time.monotonic() >= self._next_look

    def patience(self) -> float:
        """How long to wait for news: never past the next look or the deadline, and a second at most."""
        return max(0.0, min(self._next_look, self.deadline, time.monotonic() + 1.0) - time.monotonic())

    def looked(self, answered: bool, poll_seconds: float) -> None:
        """The truth was asked. After a hint of the end it is asked again soon: the record follows the hint."""
        now = time.monotonic()
        self.answers = answered
        if answered:
            self._last_sign = now
        self._hurry = min(self._hurry * 2, poll_seconds)
        self._next_look = now + (self._hurry or poll_seconds)

    def hear(self, news: list[Event | EndHint] | Silence) -> list[Event]:
        """The events to pass on. A hint of the end, a socket that broke or came back: the next look comes at once."""
        if news in (Silence.LOST, Silence.BACK):
            self._next_look = 0.0
        if isinstance(news, Silence):
            return []
        self._last_sign, self.answers = time.monotonic(), True
        events = [event for event in news if not isinstance(event, EndHint)]
        if len(events) < len(news):
            self._next_look, self._hurry = 0.0, 0.02
        for event in events:
            self._node = event.node_id if isinstance(event, NodeStarted) else self._node
        return events

    def check(self) -> None:
        """Raises deadline_exceeded or engine_unreachable when its time has come."""
        now = time.monotonic()
        where = f"It was at node {node_name(self._prompt, self._node)}." if self._node else "No node had started."
        if now >= self.deadline and self.answers:
            raise JobError("deadline_exceeded", detail=where)
        silent = now - self._last_sign
        if now >= self.deadline or silent >= self._unreachable_seconds:
            raise JobError("engine_unreachable", detail=f"It has said nothing for {silent:.0f} s. {where}")


def is_running(job: Mapping[str, Any] | None) -> bool:
    """Is the prompt of this record still in the queue or at work? A prompt without a record is not."""
    return job is not None and job["status"] in ("pending", "in_progress")


def result_of(job: Mapping[str, Any]) -> Finished:
    """What a finished prompt's record says. Raises the JobError of a failed, cancelled or empty one."""
    if error := job.get("execution_error"):
        raise failure(error, (job.get("workflow") or {}).get("prompt") or {})
    if job["status"] == "cancelled":
        raise JobError("cancelled")
    if job["status"] != "completed":
        raise JobError("node_failed", detail=f"ComfyUI says {job['status']!r} and no more.")
    files = output_files(job.get("outputs"))
    if not any(file.type == "output" for file in files):
        raise JobError("no_output", detail=f"{len(files)} temporary files, none in the output folder.")
    return Finished(files, said_besides(job.get("outputs")))
