"""One real ComfyUI for all tests of this folder, started on the CPU by the worker's own engine.

A test file that uses it says `pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]`, so that
its tests run in the event loop in which the engine's watcher lives.
"""

import os

import pytest
import pytest_asyncio

from worker.engine import Engine
from worker.errors import JobError
from worker.settings import Settings


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(tmp_path_factory):
    """A running Engine; its models are in `engine.settings.model_path`, empty at first."""
    work = tmp_path_factory.mktemp("engine")
    (work / "models").mkdir()
    engine = Engine(Settings(work_path=work / "work", model_path=work / "models"), device="cpu")
    try:
        await engine.start()
    except JobError as error:
        if error.code != "engine_not_found" or os.environ.get("REQUIRE_COMFYUI") == "1":
            raise
        pytest.skip(f"needs ComfyUI: {error.message} {error.hint}")
    try:
        await engine.wait_ready(180)
        yield engine
    finally:
        await engine.stop()
