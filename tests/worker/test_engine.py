"""The engine: living with a process that dies, hangs or will not stop (the stand-in's)."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from worker.engine import Engine
from worker.errors import JobError
from worker.events import Finished

from .engines import is_running, quick, until

ROOT = Path(__file__).parents[2]
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "job/still"}},
}


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


async def test_two_restarts_at_once_are_one(engine):
    await engine.wait_ready(20)
    first, spawned = engine._process.pid, engine._spawned
    await asyncio.gather(engine.restart(), engine.restart(), engine.restart())
    assert engine._spawned == spawned + 1
    assert engine._process.pid != first
    assert isinstance((await run(engine))[-1], Finished)


async def test_a_restart_that_waited_for_the_stop_starts_nothing(tmp_path):
    engine = quick(tmp_path)
    await engine.start()
    await engine.wait_ready(20)
    await asyncio.gather(engine.stop(), engine.restart())
    assert not engine.alive
    assert engine._watcher is None


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
from tests.worker.engines import quick
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
