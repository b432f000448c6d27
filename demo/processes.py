"""Child processes for the demo and the tests: started, waited for, and always taken down again.

A child lives in a process group of its own, so that Ctrl-C in a terminal reaches only us and we end the children
in reverse order of their start. Should we die without a chance to do that (SIGKILL), the kernel ends them for us.
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

import psutil

# A path and not an import: `make test` runs on this file, and must be able to report a worker that cannot be imported.
_LAUNCHER = Path(__file__).parents[1] / "worker" / "die_with_parent.py"


class ChildFailed(RuntimeError):
    """A child ended, or did not answer in time; the message holds the last lines of its log."""


@dataclass
class Child:
    """One running child: `log` is the file with its output, None when it writes where we write."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def last_lines(self, count: int = 20) -> str:
        """The end of the log, at most 16 kB of it; empty without a log."""
        if self.log is None or not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 16_384))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-count:])

    def failure(self, what: str) -> ChildFailed:
        """The error to raise when this child did not do `what`."""
        state = "is still running" if self.alive else f"ended with exit code {self.process.returncode}"
        tail = self.last_lines()
        where = f"\nThe last lines of {self.log}:\n{tail}" if tail else ""
        return ChildFailed(f"{self.name} {what}; it {state}.{where}")


class Processes:
    """The children of one run, as a context manager: leaving it, in whatever way, ends them all.

    Enter it in the main thread: Linux ends a child when the thread that started it ends. While it is open SIGTERM
    and SIGHUP unwind the program like Ctrl-C does; a second signal during the take-down cuts its patience short.
    """

    def __init__(self, grace_s: float = 10.0) -> None:
        self.children: list[Child] = []
        self.grace_s = grace_s
        self._hurry = False
        self._handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Processes":
        if threading.current_thread() is threading.main_thread():
            self._handle(signal.SIGINT, signal.default_int_handler)
            for number in (signal.SIGTERM, signal.SIGHUP):
                self._handle(number, _unwind)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        for number in list(self._handlers):
            signal.signal(number, self._be_quick)
        try:
            self.stop()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)  # type: ignore[arg-type]

    def start(
        self,
        name: str,
        command: Sequence[str | os.PathLike[str]],
        *,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Child:
        """Starts `command` with no standard input; `env` is added to ours. With `log` its output goes to that file."""
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid())]
        with contextlib.ExitStack() as stack:
            output = None
            if log is not None:
                log.parent.mkdir(parents=True, exist_ok=True)
                output = stack.enter_context(log.open("wb"))
            process = subprocess.Popen(
                [*launcher, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                process_group=0,
            )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def check(self) -> None:
        """Raises ChildFailed if a child has ended by itself."""
        for child in self.children:
            if not child.alive:
                raise child.failure("should be running")

    def stop(self) -> None:
        """Ends all children, the youngest first. Calling it twice does no harm."""
        while self.children:
            self._end(self.children[-1])
            self.children.pop()

    def end(self, child: Child) -> None:
        """Ends one child before its turn."""
        self._end(child)
        self.children.remove(child)

    def _end(self, child: Child) -> None:
        family = _descendants(child.pid) if child.alive else []
        if child.alive:
            child.process.terminate()
            self._wait(child)
        # What the child started and left behind: servers that moved into groups of their own, and its own group.
        for orphan in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.process.wait()
        psutil.wait_procs(family, timeout=0.5)

    def _wait(self, child: Child) -> None:
        deadline = time.monotonic() + self.grace_s
        while child.alive and time.monotonic() < deadline and not self._hurry:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(timeout=0.1)

    def _handle(self, number: signal.Signals, handler: Callable[[int, FrameType | None], object]) -> None:
        self._handlers[number] = signal.signal(number, handler)

    def _be_quick(self, number: int, frame: FrameType | None) -> None:
        self._hurry = True


def _unwind(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _descendants(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago; a rare race with another program stays possible."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, timeout_s: float, child: Child | None = None, host: str = "127.0.0.1") -> None:
    """Returns when something accepts connections on the port.

    Raises ChildFailed as soon as `child` has ended, and ChildFailed or TimeoutError after `timeout_s` seconds.
    """

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return True
        return False

    _wait_until(answers, f"opened port {port}", timeout_s, child)


def wait_for_url(url: str, timeout_s: float, child: Child | None = None) -> None:
    """Returns when the URL answers with a status below 500 (a refusal is an answer too). Raises as wait_for_port."""
    # The environment's proxy is not for servers on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def answers() -> bool:
        try:
            with opener.open(url, timeout=2):
                return True
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code < 500
        except (OSError, http.client.HTTPException):
            return False

    _wait_until(answers, f"answered at {url}", timeout_s, child)


def _wait_until(answers: Callable[[], bool], what: str, timeout_s: float, child: Child | None) -> None:
    deadline = time.monotonic() + timeout_s
    while not answers():
        if child is not None and not child.alive:
            raise child.failure(f"has not {what}")
        if time.monotonic() > deadline:
            waited = f"has not {what} within {timeout_s:g} s"
            raise child.failure(waited) if child is not None else TimeoutError(f"the server {waited}")
        time.sleep(0.05)
