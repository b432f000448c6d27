"""Cancelling: whoever stops, and whenever, no prompt of his is left in ComfyUI."""

import asyncio
import contextlib
import time
import uuid

import pytest

from demo.standin.faults import Fault
from worker.events import Finished

from .comfy_graphs import fails, run, small_graph, until

# Cancelling


async def test_cancel_stops_a_running_prompt_and_the_next_job_works(standin, client):
    standin.faults.set(Fault.parse("slow=30"), times=1)
    prompt_id = str(uuid.uuid4())
    await client.submit(small_graph(), prompt_id)
    await until(lambda: standin.table.with_status("in_progress"))
    assert await client.cancel(prompt_id)
    assert standin.table.get(prompt_id).status == "cancelled"
    assert isinstance((await run(client, small_graph()))[-1], Finished)


async def test_cancel_takes_a_waiting_prompt_out_of_the_queue(standin, client):
    standin.faults.set(Fault.parse("slow=30"), times=1)
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    await client.submit(small_graph(), first)
    await client.submit(small_graph(), second)
    assert await client.cancel(second)
    assert standin.table.get(second) is None
    assert standin.table.get(first).status == "in_progress"
    assert await client.cancel(first)


async def test_cancel_says_when_a_node_does_not_stop(standin, client):
    standin.faults.set(Fault.parse("silent"))
    prompt_id = str(uuid.uuid4())
    await client.submit(small_graph(), prompt_id)
    assert not await client.cancel(prompt_id, seconds=0.5)


async def test_a_prompt_cancelled_by_somebody_else_is_cancelled(standin, client):
    standin.faults.set(Fault.parse("slow=30"))
    task = asyncio.create_task(fails(client, small_graph()))
    await until(lambda: standin.table.with_status("in_progress"))
    standin.table.interrupt(None)
    assert (await task).code == "cancelled"


async def test_a_cancelled_task_cancels_its_prompt(standin, client):
    standin.faults.set(Fault.parse("slow=30"))
    task = asyncio.create_task(run(client, small_graph()))
    await until(lambda: standin.table.with_status("in_progress"))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert standin.table.with_status("pending", "in_progress") == []
    assert len(standin.table.with_status("cancelled")) == 1


async def test_a_reader_cancelled_between_two_events_cancels_its_prompt(standin, client):
    standin.faults.set(Fault.parse("slow=30"))
    prompt_id, deadline = str(uuid.uuid4()), time.monotonic() + 20

    async def read_slowly():
        await client.submit(small_graph(), prompt_id, deadline)
        async with contextlib.aclosing(client.follow(prompt_id, deadline)) as events:
            async for _ in events:
                await asyncio.sleep(60)

    task = asyncio.create_task(read_slowly())
    await until(lambda: standin.table.with_status("in_progress"))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert standin.table.get(prompt_id).status == "cancelled"


async def test_submit_cancelled_half_way_leaves_no_prompt(standin, client, monkeypatch):
    standin.faults.set(Fault.parse("slow=30"))

    async def slow_answer():
        await asyncio.sleep(0.5)

    monkeypatch.setattr(standin, "send_status", slow_answer)  # the prompt is queued, and its answer still on the way
    task = asyncio.create_task(client.submit(small_graph(), str(uuid.uuid4())))
    await until(lambda: standin.table.with_status("pending", "in_progress"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert standin.table.with_status("pending", "in_progress") == []
