"""A pytest plugin for scripts/test.py: one JSON line per finished phase of a test, written at once.

A JUnit file would not do: it is missing after a crash, and counts the test that Ctrl-C stopped as passed.
"""

import json
import os
from pathlib import Path

import pytest

FILE_VARIABLE = "TEST_OUTCOMES_FILE"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _write(report, report.when or "")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.outcome != "passed":
        _write(report, "collect")


def _write(report: pytest.TestReport | pytest.CollectReport, phase: str) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    if hasattr(report, "wasxfail"):
        reason = f"expected failure: {report.wasxfail}".removesuffix(": ")
    line = {
        "test": report.nodeid,
        "phase": phase,
        "outcome": report.outcome,
        "reason": " ".join(reason.removeprefix("Skipped: ").split()),
    }
    with Path(os.environ[FILE_VARIABLE]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
