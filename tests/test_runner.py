"""`make test`'s own runner, run on a small project made for it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIG = """
[tool.pytest.ini_options]
markers = ["store", "engine", "browser"]
addopts = "--strict-markers -p no:cacheprovider"
"""
MIXED = """
import pytest

def test_good(): pass
def test_bad(): assert 1 == 2
@pytest.fixture
def late():
    yield
    raise RuntimeError("teardown")
def test_good_with_bad_teardown(late): pass
@pytest.mark.xfail
def test_known(): assert False
@pytest.mark.engine
@pytest.mark.parametrize("n", [1, 2])
def test_engine(n): pytest.skip("ComfyUI was not found")
@pytest.mark.engine
def test_gpu(): pytest.skip("needs a GPU with 40 GB")
@pytest.mark.store
def test_store(): pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("scripts/test.py", "scripts/pytest_outcomes.py", "demo/processes.py", "worker/die_with_parent.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "pyproject.toml").write_text(CONFIG)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_mixed.py").write_text(MIXED)
    return tmp_path


def run(project: Path, *arguments: str, require: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/test.py", *arguments],
        cwd=project,
        env={**os.environ, "REQUIRE_COMFYUI": require},
        capture_output=True,
        text=True,
        timeout=100,
    )


LAYERS = ("--layer", "unit", "--layer", "store", "--layer", "engine", "--layer", "browser")


def test_counts_reasons_and_the_last_line(project: Path):
    done = run(project, *LAYERS)
    # A test that passed and whose teardown failed is one failure; an expected failure is no pass.
    assert done.stdout.splitlines()[-1] == "2 passed, 2 failed, 4 skipped"
    assert done.returncode == 1
    table = done.stdout[done.stdout.rindex("layer  ") :]
    assert "engine   2 x ComfyUI was not found" in table
    assert "COMFYUI_PATH" in table
    assert "unit     tests/test_mixed.py::test_bad" in table
    assert "no test ran" in next(line for line in table.splitlines() if line.startswith("browser"))
    assert "assert 1 == 2" in done.stdout


def test_missing_parts_are_no_failure_unless_asked_for(project: Path):
    done = run(project, "--layer", "engine", "--layer", "store")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1 passed, 0 failed, 3 skipped")
    strict = run(project, "--layer", "engine", "--layer", "store", require="1")
    # Only what needs a GPU may stay skipped.
    assert (strict.returncode, strict.stdout.splitlines()[-1]) == (1, "1 passed, 2 failed, 1 skipped")
    empty = run(project, "--layer", "browser", "--layer", "store", require="1")
    assert (empty.returncode, empty.stdout.splitlines()[-1]) == (1, "1 passed, 1 failed, 0 skipped")


def test_nothing_ran_is_a_failure(project: Path):
    done = run(project, "--layer", "unit", "-k", "no_such_name")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "0 passed, 0 failed, 0 skipped")


def test_a_broken_or_skipped_module_and_a_crash(project: Path):
    (project / "tests" / "test_mixed.py").write_text("import nothing_of_this_name")
    (project / "tests" / "test_whole.py").write_text("import pytest; pytest.skip('no store', allow_module_level=True)")
    done = run(project, "--layer", "unit")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "0 passed, 1 failed, 1 skipped")
    assert "1 x no store" in done.stdout
    (project / "tests" / "test_mixed.py").write_text("import os\ndef test_first(): pass\ndef test_crash(): os._exit(9)")
    crash = run(project, "--layer", "unit")
    assert (crash.returncode, crash.stdout.splitlines()[-1]) == (1, "1 passed, 1 failed, 1 skipped")
    assert "pytest itself ended with exit code 9" in crash.stdout


def test_ctrl_c_lets_fixtures_end_and_still_prints_the_table(project: Path):
    (project / "tests" / "test_mixed.py").write_text(
        "import pathlib, pytest, time\n"
        "def test_first(): pass\n"
        "@pytest.fixture\n"
        "def server():\n"
        "    pathlib.Path('up').touch()\n"
        "    yield\n"
        "    pathlib.Path('down').touch()\n"
        "def test_slow(server): time.sleep(60)\n"
    )
    command = [sys.executable, "scripts/test.py", "--layer", "unit", "--layer", "store"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as runner:
        deadline = time.monotonic() + 30
        while not (project / "up").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        runner.send_signal(signal.SIGINT)
        output, _ = runner.communicate(timeout=30)
    assert runner.returncode == 130
    assert (project / "down").exists()
    assert "interrupted" in output
    assert "\nstore " not in output
    assert output.splitlines()[-1] == "1 passed, 0 failed, 0 skipped"
