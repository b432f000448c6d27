"""ComfyUI as a process: found, started headless, watched, started again after a crash, stopped.

    engine = Engine(settings)
    await engine.start()
    await engine.wait_ready()
    async with engine.client() as client: ...
    await engine.stop()

All of it belongs to one event loop, that of the thread that lives as long as the worker (see process.py).
"""

import asyncio
import fcntl
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from worker.comfyui import ComfyClient
from worker.errors import JobError
from worker.events import OutputFile
from worker.find_comfyui import PROJECT_ROOT, FoundComfyUI, find_comfyui
from worker.launch import environment_for_nodes, flags, free_port, has_gpu, prepare
from worker.process import ChildProcess
from worker.settings import Settings

log = logging.getLogger(__name__)

NODE_PACK = PROJECT_ROOT / "custom_nodes" / "comfy_motion"
KEPT_LOGS = 5
LAST_LINES = 50


class Engine:
    """One ComfyUI and its base directory `<work_path>/comfyui`.

    `command` runs something else in ComfyUI's place with the same flags (the stand-in); `node_packs` are linked in
    beside our own; `device` is "auto", "cpu" or "gpu"; `clone` allows fetching ComfyUI where there is none.
    """

    BACKOFF_SECONDS = (0.5, 2.0, 5.0)
    DEATHS_ALLOWED = 3
    DEATHS_WITHIN_SECONDS = 300.0
    STOP_SECONDS = 10.0
    WATCH_SECONDS = 0.2

    def __init__(
        self,
        settings: Settings,
        *,
        command: Sequence[str] | None = None,
        node_packs: Sequence[Path] = (),
        device: str = "auto",
        clone: bool = False,
    ):
        self.settings = settings
        self.base_directory = settings.work_path.absolute() / "comfyui"
        self.comfyui: FoundComfyUI | None = None
        """Which ComfyUI runs; None with a `command` of one's own, and before start()."""
        self.base_url = ""
        self._command, self._packs, self._clone = command, (NODE_PACK, *node_packs), clone
        self._device = device
        self._process: ChildProcess | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._lock: IO[str] | None = None
        self._changing = asyncio.Lock()
        self._death_times: deque[float] = deque(maxlen=self.DEATHS_ALLOWED)
        self.deaths = 0
        """How often it ended by itself."""
        self._last_death: JobError | None = None
        self._down = False
        self._spawned = 0

    @property
    def input_dir(self) -> Path:
        """Where LoadImage and LoadVideo look."""
        return self.base_directory / "input"

    @property
    def output_dir(self) -> Path:
        """Where files of type "output" are."""
        return self.base_directory / "output"

    @property
    def temp_dir(self) -> Path:
        """Where files of type "temp" are; ComfyUI empties it when it starts."""
        return self.base_directory / "temp"

    @property
    def alive(self) -> bool:
        """Does ComfyUI's process run? It may still be starting: see wait_ready."""
        return self._process is not None and self._process.alive

    @property
    def down(self) -> bool:
        """It ended by itself and nothing starts it again: too often in a row, or it could not be started any more."""
        return self._watcher is not None and self._watcher.done() and not self.alive

    @property
    def process_id(self) -> int | None:
        """ComfyUI's process id, for whoever measures it; None before start()."""
        return self._process.pid if self._process else None

    @property
    def log_path(self) -> Path | None:
        """The log of the process that runs now, or that ran last."""
        return self._process.log_path if self._process else None

    def last_lines(self, count: int = LAST_LINES) -> list[str]:
        """The end of the log."""
        return self._process.last_lines(count) if self._process else []

    async def start(self) -> None:
        """Find ComfyUI and start it; returns at once, so wait_ready() comes next. Nothing happens if it runs already.

        Raises engine_not_found; internal where another worker uses the same work_path.
        """
        if self.alive or (self._watcher is not None and not self._watcher.done()):
            return
        if self._command is None:
            self.comfyui = await asyncio.to_thread(find_comfyui, self.settings, self._clone)
            log.info("ComfyUI %s at %s (%s)", self.comfyui.version, self.comfyui.path, self.comfyui.source)
        self._take_lock()
        self._death_times.clear()
        self._down = False
        self._spawn()
        self._watcher = asyncio.create_task(self._watch(), name="watch ComfyUI")

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until ComfyUI answers; says every few seconds what it waits for.

        Raises engine_crashed (with the last log lines) when the process ends meanwhile or is down for good, and
        engine_unreachable after `timeout` seconds (default COMFYUI_READY_TIMEOUT).
        """
        limit = self.settings.comfyui_ready_timeout if timeout is None else timeout
        began = said = time.monotonic()
        known_dead = None if self.alive else self._process  # it will be started again; only a new death counts
        while True:
            process, watcher = self._process, self._watcher
            if process is None or watcher is None:
                raise JobError("engine_unreachable", detail="The engine was not started, or it was stopped.")
            if not process.alive and (process is not known_dead or self._down or watcher.done()):
                raise self._death_of(process)
            if process.alive and await self._answers():
                return
            now = time.monotonic()
            if now - began > limit:
                detail = f"It was not ready after {limit:.0f} s. {_log_text(self.last_lines())}"
                hint = "Look at its last lines; raise COMFYUI_READY_TIMEOUT if it was only slow."
                raise JobError("engine_unreachable", detail=detail, hint=hint)
            if now - said > 5:
                said = now
                last = self.last_lines(1)
                log.info("waiting for ComfyUI (%.0f s); it says: %s", now - began, last[0] if last else "nothing yet")
            await asyncio.sleep(0.25)

    def client(self) -> ComfyClient:
        """A client for the process that runs now; it knows when that process has ended, and with which words."""
        process = self._process
        if process is None:
            raise JobError("engine_unreachable", detail="The engine was not started.")
        return ComfyClient(self.base_url, lambda: None if process.alive else self._death_of(process))

    async def restart(self) -> None:
        """Stop and start again, for a ComfyUI that hangs. Not a death; wait_ready() comes next.

        Raises engine_crashed where it has died too often and stays down: only start() changes that.
        """
        hanging = self._process
        async with self._changing:
            if self._down and self._last_death:
                raise self._last_death
            if self._process is not hanging or self._lock is None:
                return  # somebody else has restarted or stopped it meanwhile
            await self._end()
            self._spawn()
            self._watcher = asyncio.create_task(self._watch(), name="watch ComfyUI")

    async def stop(self) -> None:
        """End ComfyUI and all it started, within STOP_SECONDS and a little."""
        async with self._changing:
            await self._end()
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def path_of(self, file: OutputFile) -> Path:
        """Where a file that ComfyUI named is. Raises no_output where it is missing, empty or outside its folder."""
        root = (self.temp_dir if file.type == "temp" else self.output_dir).resolve()
        path = (root / file.subfolder / file.filename).resolve()
        if not path.is_relative_to(root):
            raise JobError("no_output", detail=f"ComfyUI named {file.filename!r}, which is outside its folder.")
        if not path.is_file() or path.stat().st_size == 0:
            raise JobError("no_output", detail=f"ComfyUI named {file.filename!r}, and that file is missing or empty.")
        return path

    def _spawn(self) -> None:
        config = prepare(self.base_directory, self._packs, self.settings.model_path)
        port = self.settings.comfyui_port or free_port()
        self.base_url = f"http://127.0.0.1:{port}"
        python = [sys.executable, str(self.comfyui.path / "main.py")] if self.comfyui else list(self._command or ())
        cpu = self._device == "cpu" or (self._device == "auto" and not has_gpu())
        line = flags(self.base_directory, port, config, cpu, self.settings.use_sage_attention)
        cwd = self.comfyui.path if self.comfyui else PROJECT_ROOT
        self._spawned += 1
        name = f"comfyui-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{self._spawned}.log"
        self._process = ChildProcess([*python, *line], cwd, environment_for_nodes(os.environ), self._logs / name)
        log.info("ComfyUI started at %s, process %d, log %s", self.base_url, self._process.pid, self._process.log_path)
        for old in sorted(self._logs.glob("comfyui-*.log"), key=lambda path: path.stat().st_mtime)[:-KEPT_LOGS]:
            old.unlink(missing_ok=True)

    async def _watch(self) -> None:
        """Start ComfyUI again whenever it ends by itself; give up after the third time in a few minutes."""
        while True:
            process = self._process
            while process and process.alive:
                await asyncio.sleep(self.WATCH_SECONDS)
                process.trim_log()
            if process is None:
                return
            process.kill()  # what is left of its group
            self._last_death = self._death_of(process)
            self.deaths += 1
            log.error("%s", self._last_death.message)
            now = time.monotonic()
            self._death_times.append(now)
            in_a_row = now - self._death_times[0] <= self.DEATHS_WITHIN_SECONDS
            if in_a_row and len(self._death_times) == self.DEATHS_ALLOWED:
                self._down = True
                log.error("ComfyUI ended %d times in a row and stays down", self.DEATHS_ALLOWED)
                return
            await asyncio.sleep(self.BACKOFF_SECONDS[min(len(self._death_times), len(self.BACKOFF_SECONDS)) - 1])
            self._spawn()

    async def _end(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        if self._process is None:
            return
        self._process.terminate()
        until = time.monotonic() + self.STOP_SECONDS
        while self._process.alive and time.monotonic() < until:
            await asyncio.sleep(0.05)
        self._process.kill()

    async def _answers(self) -> bool:
        async with ComfyClient(self.base_url) as client:
            try:
                await client.system_stats(5.0)
            except JobError:
                return False
        return True

    def _death_of(self, process: ChildProcess) -> JobError:
        text = _log_text(process.last_lines(LAST_LINES))
        return JobError("engine_crashed", detail=f"It ended with {process.ending() or 'no exit code'}. {text}")

    @property
    def _logs(self) -> Path:
        return self.base_directory / "logs"

    def _take_lock(self) -> None:
        """Two ComfyUIs in one base directory would empty each other's temp folder."""
        if self._lock is not None:
            return
        self.base_directory.mkdir(parents=True, exist_ok=True)
        lock = (self.base_directory / ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            hint = "Stop the other worker, or give this one another WORK_PATH."
            detail = f"Another worker uses {self.base_directory}."
            raise JobError("internal", detail=detail, hint=hint) from None
        self._lock = lock


def _log_text(lines: list[str]) -> str:
    return "\n".join(["Its last log lines:", *lines]) if lines else "It wrote no log."
