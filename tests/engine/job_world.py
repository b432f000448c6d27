"""What tests of whole jobs do with a world (demo/world.py), and what they look at in it."""

import contextlib
import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from cli.client import FINAL, EndpointClient
from cli.outcome import error_of
from demo.world import World

SMALL = {"width": 128, "height": 64, "steps": 1}
"""Pixels and steps: the face encoder works at 512x512 whatever they are, and is most of a job."""
SAMPLE = {"input_image_minio_path": "in/person.png", "driving_video_path": "in/driving.mp4", **SMALL, "seed": 1}
"""A job with the project's own sample: 25 frames at 24 a second, with sound."""
BRIEF = {**SAMPLE, "end_time": 0.25}
"""Its first 6 frames."""


@dataclass
class Ended:
    """A job that is over: the last /status answer, and every progress update in order."""

    status: dict[str, Any]
    progress: list[dict[str, Any]]

    @property
    def state(self) -> str:
        return self.status["status"]

    @property
    def answer(self) -> dict[str, Any]:
        """The answer of a job that succeeded; anything else fails the test, with the reason."""
        assert self.state == "COMPLETED", self.status
        return self.status["output"]

    @property
    def error(self) -> dict[str, Any]:
        """{code, message, field, hint} of a job that failed."""
        assert self.state == "FAILED", self.status
        return error_of(self.status)


class JobWorld:
    """One test's view of the world."""

    def __init__(self, world: World):
        self.world = world
        self.client = EndpointClient(world.queue.endpoint, world.queue.url, poll_s=0.1)
        self._sent: list[str] = []
        self.base = world.folder / "worker" / "comfyui"
        self._there_before: set[Path] = set()
        self._there_before.update(self.left_behind())

    def wait_for_comfyui(self, timeout: float = 180) -> None:
        """Until it answers: the worker takes jobs only then."""

        def answers() -> bool:
            with contextlib.suppress(StopIteration, psutil.NoSuchProcess, OSError):
                self.ask("/queue")
                return True
            return False

        self.wait_until(answers, "ComfyUI answers", timeout)

    def send(self, fields: dict[str, Any]) -> str:
        """POST /run; the job's id."""
        self._sent.append(self.client.submit(fields))
        return self._sent[-1]

    def follow(self, job_id: str, timeout: float = 300) -> Ended:
        """To the end. A worker that ends meanwhile fails the test at once."""
        return Ended(*self.client.follow(job_id, timeout, lambda status: self._require_worker()))

    def run(self, fields: dict[str, Any], timeout: float = 300) -> Ended:
        """Send and follow."""
        return self.follow(self.send(fields), timeout)

    def wait_for_node(self, job_id: str, title: str, timeout: float = 120) -> None:
        """Until the job's progress says that the node with this title runs."""

        def runs() -> bool:
            status = self.client.status(job_id)
            assert status["status"] not in FINAL, f"the job ended before {title!r} was seen: {status}"
            return (status.get("output") or {}).get("stage") == title

        self.wait_until(runs, f"{title!r} was seen", timeout)

    def wait_until(self, holds: Callable[[], bool], what: str, timeout: float) -> float:
        """Seconds until it held."""
        began = time.monotonic()
        while not holds():
            self._require_worker()
            assert time.monotonic() - began < timeout, f"not within {timeout:g} s: {what}"
            time.sleep(0.1)
        return time.monotonic() - began

    def settle(self) -> None:
        """Cancel what still runs of this test, so that the next one finds an idle worker. Fails nothing."""
        for job_id in self._sent:
            if self.client.status(job_id)["status"] not in FINAL:
                self.client.cancel(job_id)
        with contextlib.suppress(AssertionError):
            self.wait_until(lambda: not self.left_behind(), "the cancelled jobs have cleaned up", 60)

    def left_behind(self) -> list[Path]:
        """Every file and folder that is there now and was not before the test; input/3d is ComfyUI's own."""
        folders = (self.base / "input", self.base / "output", self.base / "temp" / "comfy_motion")
        found = [path for folder in folders if folder.exists() for path in folder.iterdir() if path.name != "3d"]
        return [path for path in found if path not in self._there_before]

    def comfyui(self) -> psutil.Process:
        """The process of the ComfyUI that runs now. Raises StopIteration while there is none."""
        assert self.world.worker
        children = psutil.Process(self.world.worker.pid).children(recursive=True)
        return next(child for child in children if any(part.endswith("main.py") for part in child.cmdline()))

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """A question to ComfyUI itself, past the worker: GET, or POST with a body."""
        line = self.comfyui().cmdline()
        url = f"http://127.0.0.1:{line[line.index('--port') + 1]}{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            said = response.read()
        return json.loads(said) if said else None

    def prompts(self) -> set[str]:
        """Every prompt that ComfyUI has taken since its start."""
        queue = self.ask("/queue")
        waiting = {item[1] for items in queue.values() for item in items}
        return waiting | set(self.ask("/history"))

    def forget_results(self) -> None:
        """Unload models and drop cached results: the next job runs every node of its graph."""
        self.ask("/free", {"unload_models": True, "free_memory": True})

    def _require_worker(self) -> None:
        worker = self.world.worker
        if worker is None or not worker.alive:
            raise AssertionError(f"the worker has ended:\n{worker.last_lines() if worker else ''}")
