"""The client against the stand-in: jobs that end well, nodes that fail, and graphs that are refused."""

import pytest

from demo.standin.faults import Fault
from worker.events import (
    Cached,
    Finished,
    NodeFinished,
    NodeProgress,
    NodeStarted,
    OutputFile,
    Started,
    Text,
    output_files,
    said_besides,
)

from .comfy_graphs import avatar_graph, fails, run, small_graph

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


# What nodes tell besides files


OUTPUTS = {
    "4": {
        "images": [{"filename": "m_00001_.png", "subfolder": "job", "type": "output"}],
        "masks": [{"score": 0.9, "bbox": [1, 2, 3, 4]}, {"score": 0.1, "bbox": None}],
    },
    "7": {"animated": [True], "text": ["a"], "nothing": [], "strange": "no list"},
    "8": None,
}


def test_files_and_what_is_told_besides_are_kept_apart():
    assert output_files(OUTPUTS) == (OutputFile("4", "m_00001_.png", "job", "output"),)
    assert said_besides(OUTPUTS) == {"4": {"masks": OUTPUTS["4"]["masks"]}, "7": {"animated": [True], "text": ["a"]}}
    assert said_besides(None) == {}


async def test_the_end_tells_what_nodes_said(standin, client):
    end = (await run(client, avatar_graph(standin)))[-1]
    assert end.said == {"27": {"animated": [True]}}
