"""The engine: finding ComfyUI, and living with a process that dies, hangs or will not stop (the stand-in's)."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from worker import engine as engine_module
from worker import find_comfyui as finding
from worker import launch
from worker.engine import Engine
from worker.errors import JobError
from worker.events import Finished, OutputFile
from worker.find_comfyui import clone_comfyui, find_comfyui
from worker.launch import environment_for_nodes, link_packs
from worker.process import ChildProcess
from worker.settings import Settings

ROOT = Path(__file__).parents[2]
STANDIN = (sys.executable, "-m", "demo.standin")
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "job/still"}},
}


def settings(folder: Path, **values) -> Settings:
    return Settings(work_path=folder / "work", model_path=folder / "models", **values)


def quick(folder: Path, *command: str, **values) -> Engine:
    """An engine that runs `command`, with little patience."""
    engine = Engine(settings(folder, **values), command=command or STANDIN, device="cpu")
    engine.BACKOFF_SECONDS, engine.STOP_SECONDS, engine.WATCH_SECONDS = (0.1,), 1.0, 0.05
    return engine


@pytest.fixture
async def engine(tmp_path):
    engine = quick(tmp_path)
    await engine.start()
    yield engine
    await engine.stop()


async def run(engine: Engine, seconds: float = 20.0) -> list:
    await engine.wait_ready(20)
    deadline, prompt_id = time.monotonic() + seconds, str(uuid.uuid4())
    async with engine.client() as client:
        await client.submit(GRAPH, prompt_id, deadline)
        return [event async for event in client.follow(prompt_id, deadline)]


def is_running(pid: int) -> bool:
    """A zombie counts as gone: nobody in a container may be there to collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(condition, seconds: float = 10.0) -> None:
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come about")


# The life of the process


async def test_a_job_runs_and_its_file_is_found(engine):
    events = await run(engine)
    assert isinstance(events[-1], Finished)
    path = engine.path_of(events[-1].outputs[0])
    assert path.is_relative_to(engine.output_dir)
    assert path.stat().st_size > 0


async def test_killed_in_mid_job_fails_at_once_and_the_next_job_works(engine, tmp_path):
    await engine.wait_ready(20)
    first = engine._process.pid
    async with engine.client() as client:
        await client._ask("POST", "/standin/fault", {"fault": "slow=30", "times": 1})
        task = asyncio.create_task(run(engine))
        while not (await client._ask("GET", "/queue"))[1]["queue_running"]:
            await asyncio.sleep(0.05)
    os.kill(first, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(JobError) as caught:
        await task
    assert time.monotonic() - began < 2
    assert caught.value.code == "engine_crashed"
    assert "signal 9" in caught.value.message
    assert "STAND-IN for ComfyUI" in caught.value.message  # its last log lines
    assert isinstance((await run(engine))[-1], Finished)
    assert engine._process.pid != first


async def test_a_crash_of_its_own_says_its_last_words(engine):
    await engine.wait_ready(20)
    async with engine.client() as client:
        await client._ask("POST", "/standin/fault", {"fault": "crash"})
    with pytest.raises(JobError) as caught:
        await run(engine)
    assert caught.value.code == "engine_crashed"
    assert "exit code 70" in caught.value.message
    assert "Fatal Python error: the stand-in was told to crash" in caught.value.message


async def test_the_third_death_in_a_row_is_the_last(tmp_path):
    engine = quick(tmp_path, sys.executable, "-c", "import time; print('no GPU today'); time.sleep(0.2); exit(3)")
    await engine.start()
    try:
        with pytest.raises(JobError) as caught:
            await engine.wait_ready(20)
        assert caught.value.code == "engine_crashed"
        assert "exit code 3" in caught.value.message
        assert "no GPU today" in caught.value.message
        await until(lambda: engine._down)
        logs = len(list(engine.base_directory.glob("logs/*.log")))
        await asyncio.sleep(0.5)
        assert len(list(engine.base_directory.glob("logs/*.log"))) == logs == 3
        for attempt in (engine.wait_ready(20), engine.restart()):
            with pytest.raises(JobError, match="no GPU today"):
                await attempt
    finally:
        await engine.stop()


async def test_deaths_far_apart_are_not_in_a_row(tmp_path):
    engine = quick(tmp_path, sys.executable, "-c", "import time; time.sleep(0.1); exit(3)")
    engine.DEATHS_WITHIN_SECONDS = 0.05
    await engine.start()
    try:
        await until(lambda: engine.deaths >= 5)
        assert not engine._down
    finally:
        await engine.stop()


async def test_a_process_that_never_answers_is_given_up_with_its_words(tmp_path):
    engine = quick(tmp_path, sys.executable, "-c", "import time; print('loading for ever'); time.sleep(60)")
    await engine.start()
    try:
        with pytest.raises(JobError) as caught:
            await engine.wait_ready(1.0)
        assert caught.value.code == "engine_unreachable"
        assert "loading for ever" in caught.value.message
    finally:
        await engine.stop()


async def test_stop_ends_a_group_that_ignores_sigterm(tmp_path):
    stubborn = "import signal,subprocess,sys,time; signal.signal(15, signal.SIG_IGN)\n"
    script = tmp_path / "stubborn.py"
    script.write_text(
        stubborn + "if len(sys.argv) > 1 and sys.argv[1] != 'child':\n"
        "    print(subprocess.Popen([sys.executable, __file__, 'child']).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    engine = quick(tmp_path, sys.executable, str(script))
    await engine.start()
    await until(lambda: engine.last_lines(1))
    pids = [engine._process.pid, int(engine.last_lines(1)[0])]
    assert all(is_running(pid) for pid in pids)
    began = time.monotonic()
    await engine.stop()
    assert time.monotonic() - began < 4
    await until(lambda: not any(is_running(pid) for pid in pids))
    assert not engine.alive


async def test_restart_is_no_death_and_frees_a_stuck_prompt(engine):
    await engine.wait_ready(20)
    async with engine.client() as client:
        await client._ask("POST", "/standin/fault", {"fault": "silent"})
        client.CANCEL_SECONDS = 0.5
        prompt_id, deadline = str(uuid.uuid4()), time.monotonic() + 0.5
        await client.submit(GRAPH, prompt_id, deadline)
        with pytest.raises(JobError, match="deadline_exceeded"):
            [event async for event in client.follow(prompt_id, deadline)]
        assert client.stuck
    await engine.restart()
    assert isinstance((await run(engine))[-1], Finished)
    assert engine.deaths == 0


async def test_the_old_client_knows_its_own_process(engine):
    await engine.wait_ready(20)
    async with engine.client() as old:
        await engine.restart()
        await engine.wait_ready(20)
        with pytest.raises(JobError, match="engine_crashed"):
            await old.system_stats()


def test_comfyui_dies_with_a_killed_worker(tmp_path):
    code = f"""
import asyncio
from pathlib import Path
from tests.worker.test_engine import quick
async def main():
    engine = quick(Path({str(tmp_path)!r}))
    await engine.start()
    await engine.wait_ready(20)
    print(engine._process.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
        pid = int(worker.stdout.readline())
        assert is_running(pid)
        worker.kill()
    asyncio.run(until(lambda: not is_running(pid), 5))


async def test_two_workers_cannot_share_a_folder(engine, tmp_path):
    with pytest.raises(JobError, match="Another worker uses"):
        await quick(tmp_path).start()


async def test_stop_and_start_again_in_the_same_folder(tmp_path):
    engine = quick(tmp_path)
    for _ in range(2):
        await engine.start()
        await engine.wait_ready(20)
        await engine.stop()
    with pytest.raises(JobError):
        await engine.wait_ready(1)


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


# Finding ComfyUI


def tree(folder: Path, version: str = "0.33.0", commit: str | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "main.py").touch()
    (folder / "comfyui_version.py").write_text(f'# made by a build\n__version__ = "{version}"\n')
    if commit:
        (folder / ".git").mkdir()
        (folder / ".git" / "HEAD").write_text(commit + "\n")
    return folder


@pytest.fixture
def places(tmp_path, monkeypatch):
    own, comfy_cli = tmp_path / "project" / ".comfyui", tmp_path / "home" / "ComfyUI"
    monkeypatch.setattr(finding, "OWN_CLONE", own)
    monkeypatch.setattr(finding, "COMFY_CLI_PLACE", comfy_cli)
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    return own, comfy_cli


def test_the_order_of_places(tmp_path, places):
    own, comfy_cli = places
    tree(comfy_cli)
    assert find_comfyui(settings(tmp_path)).source == "comfy-cli"
    tree(own, commit=finding.PINNED_COMMIT)
    assert find_comfyui(settings(tmp_path)).source == "own clone"
    named = tree(tmp_path / "named")
    found = find_comfyui(settings(tmp_path, comfyui_path=named))
    assert (found.source, found.path, found.version) == ("COMFYUI_PATH", named, "0.33.0")


def test_another_version_is_taken_from_comfyui_path_only_and_reported(tmp_path, places, caplog):
    other = tree(tmp_path / "named", "0.32.1")
    with caplog.at_level(logging.WARNING):
        found = find_comfyui(settings(tmp_path, comfyui_path=other))
    assert not found.is_pinned
    assert "ComfyUI 0.32.1" in caplog.text
    tree(places[1], "0.32.1")
    tree(places[0], "0.33.0", commit="0" * 40)
    with pytest.raises(JobError, match="engine_not_found"):
        find_comfyui(settings(tmp_path))


def test_nothing_found_names_both_variables(tmp_path, places):
    with pytest.raises(JobError) as caught:
        find_comfyui(settings(tmp_path))
    assert caught.value.code == "engine_not_found"
    assert "COMFYUI_PATH" in caught.value.message + caught.value.hint
    assert "COMFYUI_GIT_URL" in caught.value.message + caught.value.hint


def test_a_comfyui_path_without_comfyui_is_not_passed_over(tmp_path, places):
    tree(places[1])
    with pytest.raises(JobError, match="COMFYUI_PATH is"):
        find_comfyui(settings(tmp_path, comfyui_path=tmp_path / "nothing"))


@pytest.fixture
def mirror(tmp_path):
    """A git repository with a ComfyUI of the pinned version; gives its URL and commit."""
    folder = tree(tmp_path / "mirror")

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        return subprocess.run(
            ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    git("add", "-A")
    git("commit", "--quiet", "-m", "one")
    git("tag", "v0.33.0")
    return folder.as_uri(), git("rev-parse", "HEAD")


def test_cloning_where_there_is_none(tmp_path, places, mirror, monkeypatch):
    url, commit = mirror
    monkeypatch.setattr(finding, "PINNED_COMMIT", commit)
    found = find_comfyui(settings(tmp_path, comfyui_git_url=url), clone=True)
    assert (found.source, found.commit, found.path) == ("own clone", commit, places[0])
    assert [path.name for path in places[0].parent.iterdir()] == [".comfyui"]


def test_a_mirror_with_another_commit_is_refused_without_remains(places, mirror):
    places[0].parent.mkdir()
    with pytest.raises(JobError, match=r"engine_not_found.*wanted"):
        clone_comfyui(mirror[0], "1" * 40, places[0])
    assert list(places[0].parent.iterdir()) == []


def test_a_clone_is_bounded_in_time_and_tells_no_password(places):
    places[0].parent.mkdir()
    with pytest.raises(JobError) as caught:
        clone_comfyui("http://user:hush-hush@127.0.0.1:9/repo", "1" * 40, places[0], seconds=10)
    assert caught.value.code == "engine_not_found"
    assert "COMFYUI_PATH" in caught.value.hint
    assert "hush-hush" not in caught.value.message
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(JobError, match="took too long"):
            clone_comfyui(f"http://127.0.0.1:{silent.getsockname()[1]}/repo", "1" * 40, places[0], seconds=1.0)
        assert time.monotonic() - began < 4
    assert list(places[0].parent.iterdir()) == []
