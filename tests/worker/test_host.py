"""worker/host.py: waiting for a ComfyUI that dies or hangs, and giving it up."""

import sys
import time

import pytest

from worker.errors import JobError
from worker.host import Worker

from .engines import STANDIN, quick, settings

# Whenever it is started it adds a line to a file; what it does depends on how many there are.
COUNTED = """
import os, sys, time
with open({path!r}, "a+") as file:
    file.write("start\\n")
    file.seek(0)
    start = len(file.readlines())
if start <= {good_after}:
    {otherwise}
os.execv({standin[0]!r}, [*{standin!r}, *sys.argv[1:]])
"""


@pytest.fixture
def make(tmp_path):
    """A worker whose ComfyUI does something else at its first starts."""

    def worker(good_after: int, otherwise: str, **values) -> Worker:
        path = str(tmp_path / "starts")
        code = COUNTED.format(path=path, good_after=good_after, otherwise=otherwise, standin=list(STANDIN))
        engine = quick(tmp_path, sys.executable, "-c", code, **values)
        return Worker(settings(tmp_path, **values), engine)

    return worker


def starts(tmp_path) -> int:
    return len((tmp_path / "starts").read_text().splitlines())


DIES = "print('no GPU today', flush=True); sys.exit(3)"


async def test_three_deaths_in_a_row_are_final_however_many_jobs_come(make, tmp_path):
    worker = make(99, DIES)
    await worker.engine.start()
    try:
        for _ in range(3):
            with pytest.raises(JobError) as caught:
                await worker.engine_ready()
            assert caught.value.code == "engine_crashed"
            assert "no GPU today" in caught.value.message
            assert "this worker ends" in caught.value.hint
            assert worker.engine.down
        assert starts(tmp_path) == worker.engine.deaths == 3
    finally:
        await worker.stop()


async def test_a_job_waits_over_two_deaths(make, tmp_path):
    worker = make(2, DIES)
    await worker.engine.start()
    try:
        await worker.engine_ready()
        assert not worker.engine.down
        assert (starts(tmp_path), worker.engine.deaths) == (3, 2)
    finally:
        await worker.stop()


async def test_one_that_hangs_is_restarted_once(make, tmp_path):
    worker = make(1, "time.sleep(60)", comfyui_ready_timeout=2)
    await worker.engine.start()
    try:
        began = time.monotonic()
        await worker.engine_ready()
        assert 2 <= time.monotonic() - began < 20
        assert (starts(tmp_path), worker.engine.deaths) == (2, 0)
    finally:
        await worker.stop()


async def test_one_that_hangs_again_is_given_up_by_the_job(make, tmp_path):
    worker = make(99, "time.sleep(60)", comfyui_ready_timeout=1)
    await worker.engine.start()
    try:
        with pytest.raises(JobError, match="engine_unreachable"):
            await worker.engine_ready()
        assert starts(tmp_path) == 2
        assert not worker.engine.down
    finally:
        await worker.stop()
