"""worker/own_loop.py: a job is cancelled through two event loops, and its clean-up is waited for."""

import asyncio
import threading

import pytest

from worker.own_loop import OwnLoop


@pytest.fixture
def own():
    with OwnLoop() as loop:
        yield loop


async def where():
    return threading.current_thread().name


async def fail():
    raise ValueError("on purpose")


async def test_work_runs_in_the_other_thread_and_its_result_and_error_come_back(own):
    assert await own.run(where()) == "worker loop"
    with pytest.raises(ValueError, match="on purpose"):
        await own.run(fail())


def test_from_plain_code_too(own):
    assert own.wait(where()) == "worker loop"
    with pytest.raises(ValueError, match="on purpose"):
        own.wait(fail())


async def test_cancelled_here_is_cancelled_there_after_its_clean_up(own):
    begun, cleaned = threading.Event(), threading.Event()

    async def work():
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            cleaned.set()

    task = asyncio.ensure_future(own.run(work()))
    await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned.is_set()
    assert await own.run(where()) == "worker loop"  # the loop itself goes on


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancel_that_comes_at_once_leaves_nothing_running(own, turns):
    ended: list[str] = []

    async def work():
        try:
            await asyncio.sleep(0.5)
            ended.append("by itself")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    task = asyncio.ensure_future(own.run(work()))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.6)
    assert ended in ([], ["cancelled"])


def test_leaving_cancels_what_still_runs():
    stopped = threading.Event()

    async def for_ever():
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    with OwnLoop() as own:

        async def begin():
            own.kept = asyncio.ensure_future(for_ever())
            await asyncio.sleep(0)

        own.wait(begin())
    assert stopped.is_set()
