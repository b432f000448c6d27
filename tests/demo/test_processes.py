"""Children of the demo: started, waited for, and gone in every way a run can end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from demo.processes import ChildFailed, Processes, free_port, wait_for_port, wait_for_url

ROOT = Path(__file__).parents[2]
SLEEP = [sys.executable, "-c", "import time; time.sleep(120)"]
# A child that starts a server in a session of its own, as Swift does, and would outlive a plain kill of the group.
WITH_GRANDCHILD = f"""
import pathlib, subprocess, sys, time
kid = subprocess.Popen({SLEEP!r}, start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(kid.pid))
time.sleep(120)
"""
PARENT = """
import sys, time
from demo.processes import Processes
with Processes() as processes:
    children = [processes.start("sleeper", {sleep!r}), processes.start("forker", {fork!r})]
    print(*[child.pid for child in children], flush=True)
    time.sleep(120)
"""


def wait_until(condition, timeout_s: float = 10) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    ("number", "grandchild_too"), [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGKILL, False)]
)
def test_nothing_outlives_the_parent(tmp_path: Path, number: signal.Signals, grandchild_too: bool):
    pid_file = tmp_path / "grandchild.pid"
    fork = [sys.executable, "-c", WITH_GRANDCHILD, str(pid_file)]
    program = PARENT.format(sleep=SLEEP, fork=fork)
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert wait_until(lambda: pid_file.exists() and pid_file.read_text() != "")
        grandchild = int(pid_file.read_text())
        assert not any(gone(pid) for pid in [*pids, grandchild])
        parent.send_signal(number)
        parent.wait(timeout=20)
    try:
        assert wait_until(lambda: all(gone(pid) for pid in pids), 5)
        # After SIGKILL only the kernel's parent-death signal is left, and it reaches direct children.
        assert not grandchild_too or wait_until(lambda: gone(grandchild), 5)
    finally:
        for pid in [*pids, grandchild]:
            if not gone(pid):
                os.kill(pid, signal.SIGKILL)


def test_the_youngest_ends_first_and_ends_itself(tmp_path: Path):
    program = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        "    open(sys.argv[1], 'a').write(sys.argv[2] + '\\n')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('ready', flush=True)\n"
        "time.sleep(120)\n"
    )
    order = tmp_path / "order"
    with Processes() as processes:
        for name in ("store", "engine", "queue"):
            child = processes.start(
                name, [sys.executable, "-c", program, str(order), name], log=tmp_path / f"{name}.log"
            )
            assert wait_until(lambda child=child: child.last_lines() == "ready")
        processes.check()
    assert order.read_text().split() == ["queue", "engine", "store"]


def test_a_child_that_will_not_end_is_killed(tmp_path: Path):
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(99)"
    )
    with Processes(grace_s=0.3) as processes:
        child = processes.start("stubborn", [sys.executable, "-c", stubborn], log=tmp_path / "log")
        assert wait_until(lambda: child.last_lines() == "on")
        processes.end(child)
        assert processes.children == []
    assert child.process.returncode == -signal.SIGKILL


def test_waiting_for_a_server(tmp_path: Path):
    port = free_port()
    with Processes() as processes:
        serve = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
        child = processes.start("web", serve, log=tmp_path / "web.log")
        wait_for_port(port, 10, child)
        wait_for_url(f"http://127.0.0.1:{port}/", 10, child)
        wait_for_url(f"http://127.0.0.1:{port}/missing", 10, child)
    with pytest.raises(TimeoutError, match=f"port {port}"):
        wait_for_port(port, 0.2)


def test_waiting_tells_at_once_that_the_child_died_and_what_it_said(tmp_path: Path):
    with Processes() as processes:
        child = processes.start(
            "engine", [sys.executable, "-c", "raise SystemExit('no weights')"], log=tmp_path / "log"
        )
        started = time.monotonic()
        with pytest.raises(
            ChildFailed, match=r"(?s)engine has not opened port \d+; it ended with exit code 1.*no weights"
        ):
            wait_for_port(free_port(), 30, child)
        assert time.monotonic() - started < 10
        with pytest.raises(ChildFailed, match="should be running"):
            processes.check()


def test_a_command_that_does_not_exist(tmp_path: Path):
    with Processes() as processes:
        child = processes.start("nothing", [tmp_path / "no-such-program"], log=tmp_path / "log")
        assert child.process.wait(timeout=10) != 0
        assert "No such file" in child.last_lines()
