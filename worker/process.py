"""A child process that cannot hang its parent or outlive it: own group, log in a file, dies with the worker.

Its output goes straight into a file, so there is no pipe that somebody has to empty; the last lines are read
back from there. The file is cut when it grows too long.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

TAIL_BYTES = 64 * 1024
MAX_LOG_BYTES = 32 * 2**20
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class ChildProcess:
    """A running command. It is started by the constructor, from the thread that lives as long as the worker:
    Linux ends the child with the *thread* that made it."""

    def __init__(self, command: Sequence[str], cwd: Path, environment: Mapping[str, str], log_path: Path):
        self.log_path, self.started = log_path, time.monotonic()
        log_path.parent.mkdir(parents=True, exist_ok=True)
        launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("die_with_parent.py")), str(os.getpid())]
        with log_path.open("ab") as output:  # appending: what is cut off the file stays cut off
            self._process = subprocess.Popen(
                [*launcher, *command],
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id, which is its group's id too."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Does it still run?"""
        return self._process.poll() is None

    def ending(self) -> str:
        """How it ended, in words; "" while it runs."""
        code = self._process.poll()
        if code is None:
            return ""
        if code == -signal.SIGKILL:
            return "killed (signal 9: often the machine's memory ran out)"
        if code < 0:
            return f"killed by signal {-code} ({signal.Signals(-code).name})"
        return f"exit code {code}"

    def last_lines(self, count: int = 50) -> list[str]:
        """The end of its output, without colours; of a progress bar only its last state."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        lines = [_COLOUR.sub("", line.rstrip("\r").rsplit("\r", 1)[-1]).rstrip() for line in text.split("\n")]
        return [line[:300] for line in lines if line][-count:]

    def trim_log(self) -> None:
        """Cut the log to its end once it is too long: a worker may run for weeks."""
        with contextlib.suppress(OSError):
            if self.log_path.stat().st_size > MAX_LOG_BYTES:
                kept = self.last_lines(1000)
                os.truncate(self.log_path, 0)
                with self.log_path.open("ab") as file:
                    file.write("\n".join(["... (cut)", *kept, ""]).encode())

    def terminate(self) -> None:
        """Ask the whole group to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the whole group now, and wait until the process itself is gone."""
        self._signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)

    def _signal(self, number: int) -> None:
        # Also after the leader is gone, because others of the group may hold the GPU; while there are any, no new
        # process is given the group's id.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
