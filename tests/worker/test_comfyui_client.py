"""The client against the stand-in: the four cases of the field notes, cancelling, and one deadline for everything."""

import asyncio
import contextlib
import json
import struct
import time
import uuid
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from demo.standin.faults import Fault
from demo.standin.server import StandIn
from demo.standin.testcard import Card, write_test_card
from worker.comfy_errors import failure, rejection
from worker.comfyui import ComfyClient
from worker.errors import JobError
from worker.events import Cached, EndHint, Finished, NodeFinished, NodeProgress, NodeStarted, Started, Text, read_frame

AVATAR = Path(__file__).parents[2] / "workflows" / "avatar.json"


class QuickClient(ComfyClient):
    """The same client, less patient."""

    POLL_SECONDS = 0.2
    ANSWER_SECONDS = 0.5
    CANCEL_SECONDS = 1.5
    LAST_WORD_SECONDS = 1.0


@pytest.fixture
async def standin(tmp_path):
    server = StandIn(tmp_path / "base")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(standin):
    async with QuickClient(standin.base_url) as client:
        yield client


def small_graph() -> dict:
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0},
            "_meta": {"title": "Blank"},
        },
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": "job/still"},
            "_meta": {"title": "Save still"},
        },
    }


def avatar_graph(standin: StandIn, frames: int = 30) -> dict:
    card = Card(64, 48, Fraction(24), frames, sound=True)
    write_test_card(standin.folders.input / "driving.mp4", card)
    Image.new("RGB", (64, 64)).save(standin.folders.input / "person.png")
    return json.loads(AVATAR.read_text(encoding="utf-8"))


async def run(client: ComfyClient, graph: dict, seconds: float = 20.0, prompt_id: str | None = None) -> list:
    """Every event of a job."""
    prompt_id, deadline = prompt_id or str(uuid.uuid4()), time.monotonic() + seconds
    await client.submit(graph, prompt_id, deadline)
    return [event async for event in client.follow(prompt_id, deadline)]


async def fails(client: ComfyClient, graph: dict, seconds: float = 20.0) -> JobError:
    with pytest.raises(JobError) as caught:
        await run(client, graph, seconds)
    return caught.value


async def until(condition, seconds: float = 5.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come about")


# Case 1: the job ends with an MP4


async def test_an_mp4_is_collected_and_every_kind_of_news_arrives(standin, client):
    events = await run(client, avatar_graph(standin))
    assert isinstance(events[0], Started)
    assert events[1] == Cached(())
    assert Text("26", "window 1 of 1") in events
    steps = [event for event in events if isinstance(event, NodeProgress) and event.node_id == "26"]
    assert [event.value for event in steps] == [1, 2, 3, 4, 5, 6]
    assert {event.maximum for event in steps} == {6}
    assert NodeStarted("26") in events
    assert NodeFinished("26") in events
    (output,) = events[-1].outputs
    path = standin.folders.of_type(output.type) / output.subfolder / output.filename
    assert output.node_id == "27"
    assert path.suffix == ".mp4"
    assert path.stat().st_size > 1000


async def test_a_job_without_an_output_is_no_success(standin, client):
    standin.faults.set(Fault.parse("no_output"))
    assert (await fails(client, small_graph())).code == "no_output"


async def test_an_output_in_temp_only_is_no_output(client):
    graph = small_graph()
    graph["2"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    assert (await fails(client, graph)).code == "no_output"


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


# Case 3: a node fails


async def test_a_failed_node_is_named_with_its_words_and_place(standin, client):
    standin.faults.set(Fault.parse("node_error=shapes 3x4 and 5x6 do not fit"))
    error = await fails(client, small_graph())
    assert error.code == "node_failed"
    assert '"Blank" (EmptyImage)' in error.message
    assert "RuntimeError: shapes 3x4 and 5x6 do not fit" in error.message
    assert "work.py:1 in execute" in error.message


async def test_a_nodes_own_code_and_hint_come_through(standin, client):
    standin.faults.set(Fault.parse("motion_error=empty_mask"))
    error = await fails(client, small_graph())
    assert (error.code, error.hint) == ("empty_mask", "Start it without --fault.")
    assert "The stand-in was told to refuse." in error.message
    assert "[" not in error.message


async def test_out_of_memory_is_not_just_a_failed_node(standin, client):
    standin.faults.set(Fault.parse("out_of_memory"))
    error = await fails(client, small_graph())
    assert error.code == "out_of_memory"
    assert '"Blank"' in error.message


async def test_the_job_after_a_failure_works(standin, client):
    standin.faults.set(Fault.parse("node_error"), times=1)
    await fails(client, small_graph())
    assert isinstance((await run(client, small_graph()))[-1], Finished)


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


# Refused graphs


async def test_a_missing_model_file_is_named_with_its_node(standin, client):
    standin.faults.set(Fault.parse("reject"))
    error = await fails(client, avatar_graph(standin))
    assert error.code == "graph_rejected"
    assert "yolov10m.onnx" in error.message
    assert '"Pose models" (CMLoadPoseModels)' in error.message
    assert "MODEL_PATH" in error.hint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: g["1"].update(class_type="NoSuchNode"), '"Blank" (NoSuchNode): ComfyUI has no such node'),
        (lambda g: g["1"]["inputs"].update(width=0), '"Blank" (EmptyImage): the input width: Value 0 smaller than min'),
        (lambda g: g["1"]["inputs"].pop("width"), '"Blank" (EmptyImage): the input width is missing'),
        (lambda g: g["2"]["inputs"].update(images=["9", 0]), '"Save still" (SaveImage): Exception when validating'),
        (lambda g: g.pop("2"), "Prompt has no outputs"),
        (
            lambda g: g.update({"1": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64}}}),
            'the input images is linked to "node 1" (EmptyLatentImage), which gives LATENT',
        ),
    ],
)
async def test_a_refused_graph_says_which_node_and_why(client, change, words):
    graph = small_graph()
    change(graph)
    error = await fails(client, graph)
    assert error.code == "graph_rejected"
    assert words in error.message


async def test_a_graph_that_is_taken_only_in_part_is_refused_and_does_not_run(standin, client):
    graph = small_graph()
    graph["3"] = {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}, "_meta": {"title": "Second"}}
    standin.faults.set(Fault.parse("slow=30"))
    error = await fails(client, graph)
    assert error.code == "graph_rejected"
    assert '"Second" (SaveImage): the input filename_prefix is missing' in error.message
    assert standin.table.with_status("pending", "in_progress") == []


# Reading what ComfyUI says (no server)

REAL_REJECTION = {
    "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": ""},
    "node_errors": {
        "3": {
            "errors": [
                {
                    "type": "value_not_in_list",
                    "message": "Value not in list",
                    "details": "vae_name: 'x.safetensors' not in ['pixel_space']",
                    "extra_info": {"input_name": "vae_name", "received_value": "x.safetensors"},
                }
            ],
            "dependent_outputs": ["2"],
            "class_type": "VAELoader",
        }
    },
}


def test_a_real_rejection_in_plain_words():
    error = rejection(400, REAL_REJECTION, {"3": {"class_type": "VAELoader", "_meta": {"title": "VAE"}}})
    assert "\"VAE\" (VAELoader): the model file 'x.safetensors' (input vae_name) is not there." in error.message


@pytest.mark.parametrize("body", ["<html>502</html>", {}, {"error": "no"}, None, []])
def test_a_rejection_of_unknown_shape_is_still_one(body):
    assert rejection(502, body, {}).code == "graph_rejected"


def test_an_accepted_graph_is_no_rejection():
    assert rejection(200, {"prompt_id": "x", "node_errors": {}}, {}) is None


@pytest.mark.parametrize(
    ("kind", "message", "code"),
    [
        ("torch.OutOfMemoryError", "CUDA out of memory.", "out_of_memory"),
        ("torch.AcceleratorError", "x\nThis error means you ran out of memory on your GPU.\n", "out_of_memory"),
        ("MemoryError", "", "out_of_memory"),
        ("comfy_motion.errors.MotionError", "[no_face] Nobody looks. Hint: Look.", "no_face"),
        ("comfy_motion.errors.MotionError", "[no_such_code] Nobody looks.", "node_failed"),
        ("ValueError", "[no_face] words that only look like ours", "node_failed"),
        ("", "", "node_failed"),
    ],
)
def test_the_code_of_a_failed_node(kind, message, code):
    error = {"node_id": "1", "node_type": "X", "exception_type": kind, "exception_message": message}
    assert failure(error, {}).code == code


def frame(kind: str, **data) -> str:
    return json.dumps({"type": kind, "data": data})


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (frame("executing", node="5", prompt_id="mine"), [NodeStarted("5")]),
        (frame("executing", node="5"), [NodeStarted("5")]),
        (frame("executing", node="5", prompt_id="other"), []),
        (frame("executing", node=None, prompt_id="mine"), [EndHint()]),
        (frame("execution_success", prompt_id="mine"), [EndHint()]),
        (frame("execution_error", prompt_id="other"), []),
        (frame("status", status={}), []),
        (frame("progress", node="5", value=2, max=7, prompt_id="mine"), [NodeProgress("5", 2, 7)]),
        (frame("progress", value="broken", prompt_id="mine"), []),
        ("no json", []),
        ("[1, 2]", []),
        (b"", []),
        (struct.pack(">II", 3, 1) + b"5window 2 of 5", [Text("5", "window 2 of 5")]),
        (struct.pack(">II", 1, 2) + b"a picture", []),
    ],
)
def test_reading_a_frame(raw, events):
    assert read_frame(raw, "mine") == events
