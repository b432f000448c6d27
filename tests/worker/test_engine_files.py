"""What surrounds the engine: result files, linked node packs, its environment, its log, its flags."""

import os
import sys
from pathlib import Path

import pytest

from worker import engine as engine_module
from worker import launch
from worker.errors import JobError
from worker.events import OutputFile
from worker.launch import environment_for_nodes, link_packs
from worker.process import ChildProcess

from .engines import quick, until


async def test_logs_do_not_pile_up(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module, "KEPT_LOGS", 2)
    engine = quick(tmp_path, sys.executable, "-c", "import time; time.sleep(60)")
    await engine.start()
    for _ in range(3):
        await engine.restart()
    await engine.stop()
    logs = list(engine.base_directory.glob("logs/*.log"))
    assert len(logs) == 2
    assert engine.log_path in logs


# Files and folders


@pytest.mark.parametrize(
    ("subfolder", "name", "written"),
    [("job", "none.mp4", None), ("job", "empty.mp4", b""), ("..", "outside.mp4", b"x"), ("", "/etc/hostname", b"x")],
)
def test_a_named_file_that_is_not_a_result(tmp_path, subfolder, name, written):
    engine = quick(tmp_path)
    path = engine.output_dir / subfolder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if written is not None and not name.startswith("/"):
        path.write_bytes(written)
    with pytest.raises(JobError, match="no_output"):
        engine.path_of(OutputFile("1", name, subfolder, "output"))


def test_linked_packs_are_exactly_the_wanted_ones(tmp_path):
    packs = [tmp_path / "packs" / name for name in ("one", "two")]
    for pack in packs:
        pack.mkdir(parents=True)
    folder = tmp_path / "custom_nodes"
    folder.mkdir()
    link_packs(folder, packs)
    assert sorted(path.name for path in folder.iterdir()) == ["one", "two"]
    moved = tmp_path / "elsewhere" / "one"
    moved.mkdir(parents=True)
    link_packs(folder, [moved])
    assert [(path.name, path.resolve()) for path in folder.iterdir()] == [("one", moved)]
    (folder / "two").mkdir()
    with pytest.raises(JobError, match="remove what is there"):
        link_packs(folder, packs)


def test_secrets_do_not_reach_the_nodes():
    secret = "MINIO_ACCESS_KEY MINIO_SECRET_KEY AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID HF_TOKEN RUNPOD_API_KEY"
    secret += " RUNPOD_AI_API_KEY RUNPOD_WEBHOOK_GET_JOB HUGGING_FACE_HUB_TOKEN COMFYUI_GIT_URL MY_PASSWORD"
    kept = {"PATH": "p", "HF_HOME": "h", "CUDA_VISIBLE_DEVICES": "0", "LD_LIBRARY_PATH": "l", "KEYBOARD": "k"}
    assert environment_for_nodes({**dict.fromkeys(secret.split(), "s"), **kept}) == {**kept, "PYTHONUNBUFFERED": "1"}


async def test_the_process_gets_that_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIO_SECRET_KEY", "hush-hush")
    monkeypatch.setenv("HF_HOME", "somewhere")
    show = "import os,time; print(os.environ.get('MINIO_SECRET_KEY'), os.environ['HF_HOME']); time.sleep(60)"
    engine = quick(tmp_path, sys.executable, "-c", show)
    await engine.start()
    await until(lambda: engine.last_lines(1))
    await engine.stop()
    assert engine.last_lines(1) == ["None somewhere"]


def test_the_last_lines_are_readable(tmp_path):
    text = "one\n\x1b[31mred\x1b[0m\nsteps 1/3\rsteps 2/3\rsteps 3/3\n\n" + "x" * 999 + "\n"
    process = ChildProcess([sys.executable, "-c", f"print({text!r})"], tmp_path, os.environ, tmp_path / "a.log")
    process._process.wait(10)
    assert process.last_lines() == ["one", "red", "steps 3/3", "x" * 300]
    assert process.last_lines(1) == ["x" * 300]
    assert process.ending() == "exit code 0"


def test_a_long_log_is_cut_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.process.MAX_LOG_BYTES", 10_000)
    code = "import sys\nfor i in range(5000): print('line', i, flush=True)\nsys.stdin.read()"
    process = ChildProcess([sys.executable, "-c", code], tmp_path, os.environ, tmp_path / "a.log")
    process._process.wait(10)
    process.trim_log()
    assert process.log_path.stat().st_size < 20_000
    assert process.last_lines(1) == ["line 4999"]


async def test_flags_follow_the_settings(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None)
    plain = launch.flags(Path("b"), 8, Path("c"), cpu=True, sage_attention=True)
    assert "--cpu" in plain
    assert "--use-sage-attention" not in plain
    assert "sageattention is not installed" in caplog.text
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: object())
    fast = launch.flags(Path("b"), 8, Path("c"), cpu=False, sage_attention=True)
    assert "--cpu" not in fast
    assert "--use-sage-attention" in fast


def test_no_gpu_where_cuda_is_told_of_none(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not launch.has_gpu()
