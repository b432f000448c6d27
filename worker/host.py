"""What all jobs of a worker share: settings, ComfyUI, the store, the operations, and what is known of the versions."""

import logging
import time
from typing import Any

from worker.engine import Engine
from worker.errors import JobError
from worker.find_comfyui import FoundComfyUI
from worker.graph import Graph
from worker.kept import Kept
from worker.operations import Operation, load_operations
from worker.redact import Redactor
from worker.settings import Settings
from worker.store import ObjectStore
from worker.versions import Hashes, ModelFile, models_of, versions

log = logging.getLogger(__name__)

DOWN_HINT = "ComfyUI ended too often in a row and stays down; this worker ends too. The last log lines say why."


class Worker:
    """One worker process. `engine` may be given (the stand-in, tiny weights); else it is ComfyUI as it is found."""

    def __init__(self, settings: Settings, engine: Engine | None = None):
        self.settings = settings
        self.engine = engine or Engine(settings, clone=True)
        self.operations = load_operations()
        self.redact = Redactor.of(settings)
        self.hashes = Hashes(settings.work_path / "hashes.json")
        self.kept = Kept(self.engine.base_directory, settings.keep_hours, settings.job_timeout_s)
        self._jobs_taken = 0
        self.ready_seconds: float | None = None
        self._store: ObjectStore | None = None

    async def start(self) -> None:
        """Check every graph, start ComfyUI and wait until it answers. Raises graph_invalid, engine_*."""
        began = time.monotonic()
        for operation in self.operations.values():
            operation.check()
        self.kept.sweep()
        await self.engine.start()
        # Models are read from disk while ComfyUI boots, but not by us: hashing waits until it is ready.
        await self.engine.wait_ready()
        self.ready_seconds = round(time.monotonic() - began, 3)
        log.info("ComfyUI is ready after %.1f s", self.ready_seconds)
        graphs = [graph for operation in self.operations.values() for graph in operation.graphs.values()]
        self.hashes.start(model.path for model in self.models(*graphs) if model.path)

    async def stop(self) -> None:
        """End ComfyUI."""
        await self.engine.stop()

    async def engine_ready(self) -> None:
        """ComfyUI answers, or is made to: waited for where it died and is started anew, restarted where it hangs.

        Raises engine_crashed (with engine.down it stays so, and the worker is of no more use) and engine_unreachable.
        """
        patience = self.engine.DEATHS_ALLOWED
        while True:
            try:
                return await self.engine.wait_ready()
            except JobError as error:
                patience -= 1
                if self.engine.down:
                    error.hint = DOWN_HINT
                    raise
                if patience <= 0:
                    raise
                log.warning("ComfyUI is not ready and is started anew: %s", error)
                if error.code == "engine_unreachable":
                    patience = 0
                    # Not stop() and start(): the engine would forget how often ComfyUI has died.
                    await self.engine.restart()

    def operation(self, job_input: dict[str, Any]) -> Operation:
        """The operation that `input.operation` names, else the default one. Raises unknown_operation."""
        name = job_input.get("operation", self.settings.default_operation)
        if isinstance(name, str) and name in self.operations:
            return self.operations[name]
        where = "input.operation" if "operation" in job_input else "DEFAULT_OPERATION"
        known = ", ".join(sorted(self.operations))
        raise JobError("unknown_operation", "operation", f"{where} is {str(name)[:40]!r}; this worker has: {known}.")

    def take_number(self) -> int:
        """Counts the jobs of this process; the first one came with a cold start."""
        self._jobs_taken += 1
        return self._jobs_taken

    @property
    def store(self) -> ObjectStore | None:
        """The worker's own store; None where the environment names none, or not all of it."""
        if self._store is None and not self.settings.missing_for_store():
            self._store = ObjectStore.from_settings(self.settings)
        return self._store

    def models(self, *graphs: Graph) -> list[ModelFile]:
        """The model files that graphs name, each once."""
        roots = (self.settings.model_path, self.engine.base_directory / "models")
        found = [model for graph in graphs for model in models_of(graph.nodes, roots)]
        return list(dict.fromkeys(found))

    def versions(self, graph: Graph | None) -> dict[str, Any]:
        """The `versions` of an answer; `graph`: the one that ran, or was to."""
        comfyui: FoundComfyUI | None = self.engine.comfyui
        if graph is None:
            return versions(comfyui, None, [])
        return versions(comfyui, graph.sha256, [self.hashes.entry(model) for model in self.models(graph)])
