"""A progress bar for a job that is followed over /status: one line on a terminal, plain lines elsewhere."""

import re
import sys
import time
from typing import Any, TextIO

WIDTH = 30
PARTS = {"mimicmotion": "chunk"}
"""What an operation's people call the parts that the worker counts as windows."""


class ProgressBar:
    """`with ProgressBar() as bar: client.run(..., on_news=bar.show)`."""

    def __init__(self, name: str = "job", quiet: bool = False, out: TextIO | None = None):
        self._name, self._quiet, self._out = name, quiet, out or sys.stdout
        self._live = self._out.isatty()
        self._last = ""
        self._started = time.monotonic()

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._live and self._last and not self._quiet:
            self._out.write("\n")

    def show(self, status: dict[str, Any]) -> None:
        """One answer of /status."""
        line = line_for(status, PARTS.get(self._name, "window"))
        if self._quiet or line == self._last:
            return
        self._last = line
        seconds = f"{time.monotonic() - self._started:6.1f} s"
        if self._live:
            self._out.write(f"\r\x1b[K{self._name} {seconds}  {line}")
        else:
            self._out.write(f"{self._name} {seconds}  {line}\n")
        self._out.flush()


def line_for(status: dict[str, Any], part: str = "window") -> str:
    """The state in one line: a bar where the worker reports progress, else the platform's word.

    part: the word for what a video is made of, one after the other.
    """
    report = status.get("output")
    if status.get("status") != "IN_PROGRESS" or not isinstance(report, dict) or "percent" not in report:
        return str(status.get("status"))
    percent = int(report["percent"])
    bar = "#" * (percent * WIDTH // 100)
    eta = report.get("eta_seconds")
    left = f", about {eta} s left" if eta is not None else ""
    message = re.sub(r"\bwindow(?= \d+ of \d+)", part, str(report.get("message", "")))
    return f"[{bar:{WIDTH}}] {percent:3} %  {message}{left}"
