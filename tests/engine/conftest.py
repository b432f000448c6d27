"""One real ComfyUI for the graphs of this folder, and one world (store, queue, worker, ComfyUI) for its whole jobs.

A test file that uses `engine` says `pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]`, so
that its tests run in the event loop in which the engine's watcher lives. Both run on the CPU with tiny weights, which
are made once, in work/test-models.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from demo.sample import ASSETS
from demo.tiny import TINY_NODES, tiny_models
from demo.world import KEEP_MEMORY, World
from worker.engine import Engine
from worker.errors import JobError
from worker.find_comfyui import find_comfyui
from worker.settings import Settings

from .job_world import JobWorld

MODELS = Path(__file__).parents[2] / "work" / "test-models"


def skip_without_comfyui(error: JobError) -> None:
    """Skips where ComfyUI is missing, unless REQUIRE_COMFYUI=1 says that there must be one."""
    if error.code != "engine_not_found" or os.environ.get("REQUIRE_COMFYUI") == "1":
        raise error
    pytest.skip(f"needs ComfyUI: {error.message} {error.hint}")


@pytest.fixture(scope="session")
def models() -> Path:
    """MODEL_PATH with the tiny weights."""
    return tiny_models(MODELS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(models, tmp_path_factory):
    """A running Engine with the tiny models."""
    settings = Settings(work_path=tmp_path_factory.mktemp("engine") / "work", model_path=models)
    engine = Engine(settings, node_packs=[TINY_NODES], device="cpu")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GLIBC_TUNABLES", KEEP_MEMORY)
            await engine.start()
    except JobError as error:
        skip_without_comfyui(error)
    try:
        await engine.wait_ready(180)
        yield engine
    finally:
        await engine.stop()


class Worlds:
    """The session's world. One whose worker has ended is replaced, so that a test that breaks it is the only one."""

    def __init__(self, models: Path, tmp_path_factory: pytest.TempPathFactory):
        self._models, self._folders = models, tmp_path_factory
        self._current: World | None = None

    def running(self) -> World:
        if self._current is None or self._current.worker is None or not self._current.worker.alive:
            self.close()
            folder = self._folders.mktemp("world")
            self._current = World(folder, self._models).__enter__()
            for name in ("person.png", "driving.mp4"):
                self._current.upload(ASSETS / name, f"in/{name}")
        return self._current

    def close(self) -> None:
        if self._current is not None:
            self._current.__exit__(None, None, None)
            self._current = None


@pytest.fixture(scope="session")
def worlds(models, tmp_path_factory) -> Iterator[Worlds]:
    """Takes the world down at the end, in whatever state the tests have left it."""
    try:
        find_comfyui(Settings.from_env(), clone=True)
    except JobError as error:
        skip_without_comfyui(error)
    worlds = Worlds(models, tmp_path_factory)
    yield worlds
    worlds.close()


@pytest.fixture
def jobs(worlds) -> Iterator[JobWorld]:
    """The world with nothing to do; afterwards every job of the test is over."""
    jobs = JobWorld(worlds.running())
    jobs.wait_for_comfyui()
    yield jobs
    jobs.settle()
