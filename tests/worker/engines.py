"""Engines with little patience, for the tests, and what they wait for."""

import asyncio
import sys
from pathlib import Path

from worker.engine import Engine
from worker.settings import Settings

STANDIN = (sys.executable, "-m", "demo.standin")


def settings(folder: Path, **values) -> Settings:
    return Settings(work_path=folder / "work", model_path=folder / "models", **values)


def quick(folder: Path, *command: str, **values) -> Engine:
    """An engine that runs `command`, with little patience."""
    engine = Engine(settings(folder, **values), command=command or STANDIN, device="cpu")
    engine.BACKOFF_SECONDS, engine.STOP_SECONDS, engine.WATCH_SECONDS = (0.1,), 1.0, 0.05
    return engine


def is_running(pid: int) -> bool:
    """A zombie counts as gone: nobody in a container may be there to collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(condition, seconds: float = 10.0) -> None:
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come about")
