"""The command line in tests: called as a person would, here or as a process of its own, always with the stand-in."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cli.places
import run
from tests.worker.standin_jobs import STANDIN
from worker.engine import Engine
from worker.host import Worker

ROOT = Path(__file__).parents[2]
AS_PROCESS = """
import signal, sys
import run
from tests.cli.cli_world import use_standin
use_standin(step_seconds=float(sys.argv.pop(1)))
signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
sys.exit(run.main())
"""


def use_standin(patch=setattr, step_seconds: float = 0.001) -> None:
    """Jobs of this process run on the stand-in."""
    command = [*STANDIN[:-1], str(step_seconds)]
    patch(cli.places, "Worker", lambda settings: Worker(settings, Engine(settings, command=command)))


def started(arguments: list[str], step_seconds: float, work: Path, **environment: str) -> subprocess.Popen[str]:
    """run.py as a process, as a terminal would start it."""
    return subprocess.Popen(
        [sys.executable, "-c", AS_PROCESS, str(step_seconds), *arguments],
        cwd=ROOT,
        env={**os.environ, "WORK_PATH": str(work), "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def answer_of(capsys, *arguments: str) -> dict:
    """What `run.py ... --json` prints; there is nothing else on stdout."""
    code = run.main([*arguments, "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


def left_behind(work: Path) -> list[Path]:
    """Files of jobs in the folders of a worker."""
    base = work / "comfyui"
    folders = (base / "input", base / "output", base / "temp" / "comfy_motion")
    return [path for folder in folders if folder.exists() for path in folder.iterdir()]
