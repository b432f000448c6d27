"""The client when the socket drops, the server goes silent, or the process ends: one deadline for everything."""

import time
import uuid

import pytest

from demo.standin.faults import Fault
from demo.standin.server import StandIn
from worker.errors import JobError
from worker.events import Finished, NodeStarted

from .comfy_graphs import QuickClient, avatar_graph, fails, run, small_graph, until

# Case 2: the websocket drops and the job ends meanwhile


async def test_a_finish_behind_a_broken_socket_is_found(standin, client):
    standin.faults.set(Fault.parse("drop_socket"))
    client.POLL_SECONDS = 30.0  # the loss and the return of the socket are reason enough to ask
    began = time.monotonic()
    events = await run(client, avatar_graph(standin))
    assert isinstance(events[-1], Finished)
    assert len(events[-1].outputs) == 1
    assert time.monotonic() - began < 8
    assert not any(isinstance(event, NodeStarted) and event.node_id == "27" for event in events)  # nobody told us


async def test_a_socket_that_never_comes_back_is_not_needed(standin, client):
    standin.sockets.refuse = True
    events = await run(client, small_graph())
    assert [type(event) for event in events] == [Finished]


async def test_a_socket_that_comes_back_tells_the_current_node(standin, client):
    standin.faults.set(Fault.parse("slow=0.4"))
    deadline, prompt_id, events = time.monotonic() + 20, str(uuid.uuid4()), []
    await client.submit(small_graph(), prompt_id, deadline)
    async for event in client.follow(prompt_id, deadline):
        events.append(event)
        if events.count(NodeStarted("1")) == 1 and event == NodeStarted("1"):
            standin.sockets.abort()
    assert events.count(NodeStarted("1")) == 2
    assert isinstance(events[-1], Finished)


async def test_following_a_prompt_that_ended_before_anyone_listened(standin, client):
    prompt_id = str(uuid.uuid4())
    await client.submit(small_graph(), prompt_id)
    await until(lambda: standin.table.get(prompt_id).status == "completed")
    async with QuickClient(standin.base_url) as other:
        events = [event async for event in other.follow(prompt_id, time.monotonic() + 5)]
        assert isinstance(events[-1], Finished)
        assert (await other.outputs(prompt_id)) == events[-1].outputs


# Case 4: the server goes silent


async def test_a_prompt_that_never_ends_meets_the_deadline(standin, client):
    standin.faults.set(Fault.parse("silent"))
    began = time.monotonic()
    error = await fails(client, small_graph(), seconds=1.0)
    assert error.code == "deadline_exceeded"
    assert 1.0 <= time.monotonic() - began < 1.0 + client.CANCEL_SECONDS + 1.0
    assert client.stuck  # this fault does not heed an interrupt either


async def test_the_deadline_names_the_node(standin, client):
    standin.faults.set(Fault.parse("slow=30"))
    error = await fails(client, small_graph(), seconds=1.0)
    assert error.code == "deadline_exceeded"
    assert '"Blank" (EmptyImage)' in error.message
    assert not client.stuck
    assert standin.table.with_status("in_progress") == []


async def test_a_server_that_answers_nothing_is_unreachable_at_the_deadline(standin, client):
    standin.faults.set(Fault.parse("hang_http"))
    began = time.monotonic()
    error = await fails(client, small_graph(), seconds=1.5)
    assert error.code == "engine_unreachable"
    assert time.monotonic() - began < 1.5 + 4.0
    assert client.stuck


async def test_a_server_that_answers_nothing_is_given_up_before_a_far_deadline(standin, client):
    client.UNREACHABLE_SECONDS = 1.0
    standin.faults.set(Fault.parse("hang_http"))
    began = time.monotonic()
    assert (await fails(client, small_graph(), seconds=600)).code == "engine_unreachable"
    assert time.monotonic() - began < 7


async def test_a_server_that_hangs_from_the_start_does_not_hold_submit(standin, client):
    standin.hang()
    began = time.monotonic()
    assert (await fails(client, small_graph(), seconds=1.0)).code == "engine_unreachable"
    assert time.monotonic() - began < 8


async def test_nobody_listening_is_unreachable():
    async with QuickClient("http://127.0.0.1:9") as client:
        assert (await fails(client, small_graph(), seconds=5)).code == "engine_unreachable"


# The process ends, or comes back without the prompt


async def test_a_dead_process_fails_the_job_at_once_with_its_words(standin):
    died: list[float] = []
    standin.faults.set(Fault.parse("crash"))
    standin._on_crash = lambda: (died.append(time.monotonic()), standin._break())

    def why_dead() -> JobError | None:  # the kernel closes a process's sockets a little before it is gone
        gone = died and time.monotonic() - died[0] > 0.3
        return JobError("engine_crashed", detail="last words") if gone else None

    async with QuickClient(standin.base_url, why_dead) as client:
        client.POLL_SECONDS = 30.0
        began = time.monotonic()
        error = await fails(client, small_graph())
    assert error.code == "engine_crashed"
    assert "last words" in error.message
    assert time.monotonic() - began < 2


async def test_a_prompt_lost_in_a_restart_is_a_crash(standin, client, tmp_path):
    standin.faults.set(Fault.parse("slow=30"))
    deadline, prompt_id = time.monotonic() + 20, str(uuid.uuid4())
    await client.submit(small_graph(), prompt_id, deadline)
    port = int(standin.base_url.rsplit(":", 1)[1])
    await standin.stop()
    fresh = StandIn(tmp_path / "base")
    await fresh.start(port)
    try:
        with pytest.raises(JobError) as caught:
            async for _ in client.follow(prompt_id, deadline):
                pass
    finally:
        await fresh.stop()
    assert caught.value.code == "engine_crashed"
