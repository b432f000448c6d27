"""demo/world.py: Ctrl-C takes the whole world down, and the worker before the queue and the store it talks to."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.demo.test_processes import gone, wait_until

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, time
from pathlib import Path
from demo.world import World
folder = Path(sys.argv[1])
try:
    with World(folder, folder / "models", standin=True) as world:
        while world.client.health()["workers"] == {"idle": 0, "running": 0}:
            time.sleep(0.1)
        print("up", flush=True)
        time.sleep(120)
finally:
    print("down", flush=True)
"""


@pytest.mark.store
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_of_it_is_left_and_the_worker_ends_in_peace(tmp_path: Path, number: signal.Signals):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as world:
        assert world.stdout is not None
        assert world.stdout.readline() == "up\n"
        children = psutil.Process(world.pid).children(recursive=True)
        assert len(children) >= 6  # Swift's four, the worker, the stand-in
        try:
            world.send_signal(number)
            assert world.stdout.readline() == "down\n"
            assert world.wait(timeout=30) != 0
            assert wait_until(lambda: all(gone(child.pid) for child in children), 5)
        finally:
            for child in children:
                if not gone(child.pid):
                    child.kill()
    said = (tmp_path / "worker.log").read_text()
    assert "ComfyUI is ready" in said
    for trouble in ("Cannot connect", "Failed to get job", "Traceback"):
        assert trouble not in said, said
