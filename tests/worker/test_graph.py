"""worker/graph.py: bound by title and class, refused when the file is not what the worker was written for."""

import copy
import json
from pathlib import Path

import pytest

from worker.errors import JobError
from worker.graph import graph_from, load_graph, reachable, sha256_of

NODES = {
    "1": {"class_type": "LoadImage", "_meta": {"title": "Reference image"}, "inputs": {"image": "a.png"}},
    "2": {"class_type": "Grow", "_meta": {"title": "Grow mask"}, "inputs": {"image": ["1", 0], "kernel": 7}},
    "3": {
        "class_type": "Save",
        "_meta": {"title": "Save MP4"},
        "inputs": {"mask": ["2", 0], "image": ["1", 0], "prefix": "x"},
    },
}


def changed(**by_id):
    nodes = copy.deepcopy(NODES)
    nodes.update(by_id)
    return nodes


def refused(nodes):
    with pytest.raises(JobError) as caught:
        graph_from(nodes, "g.json")
    assert caught.value.code == "graph_invalid"
    return caught.value.message


def test_bind_sets_inputs_by_title_and_leaves_the_graph_alone():
    graph = graph_from(copy.deepcopy(NODES))
    prompt = graph.bind({("Save MP4", "Save"): {"prefix": "job/avatar"}})
    assert prompt["3"]["inputs"] == {"mask": ["2", 0], "image": ["1", 0], "prefix": "job/avatar"}
    prompt["1"]["inputs"]["image"] = "changed afterwards"
    assert graph.nodes == NODES


@pytest.mark.parametrize(
    ("name", "inputs", "said"),
    [
        (("Gone", "Save"), {}, 'no node has the title "Gone"'),
        (("Save MP4", "SaveVideo"), {}, "is a Save, and the worker binds a SaveVideo"),
        (("Save MP4", "Save"), {"prefx": 1}, 'has no input "prefx"'),
    ],
)
def test_bind_refuses_what_the_graph_does_not_have(name, inputs, said):
    graph = graph_from(NODES)
    for call in (graph.bind, graph.check):
        with pytest.raises(JobError, match="graph_invalid") as caught:
            call({name: inputs})
        assert said in caught.value.message


def test_a_title_twice_or_none_is_refused():
    assert "nodes 1 and 4 have the same title" in refused(changed(**{"4": NODES["1"]}))
    assert "node 4 (Save) has no title" in refused(changed(**{"4": {"class_type": "Save", "inputs": {}}}))


def test_what_is_not_an_api_graph_is_refused(tmp_path):
    assert "API format" in refused({"nodes": [], "links": []})
    assert "linked to node 9" in refused(
        changed(**{"4": {"class_type": "X", "_meta": {"title": "x"}, "inputs": {"i": ["9", 0]}}})
    )
    (tmp_path / "broken.json").write_text("{")
    for path in (tmp_path / "broken.json", tmp_path / "absent.json"):
        with pytest.raises(JobError, match="graph_invalid"):
            load_graph(path)


def test_without_link_drops_the_branch_and_nothing_else():
    graph = graph_from(NODES)
    cut = graph.without_link(("Save MP4", "Save"), "mask")
    assert reachable(graph.nodes, ["3"]) == {"1", "2", "3"}
    assert reachable(cut.bind({}), ["3"]) == {"1", "3"}
    assert graph.nodes == NODES
    assert cut.sha256 == graph.sha256  # the hash names the pinned file
    with pytest.raises(JobError, match="a value, not a link"):
        graph.without_link(("Save MP4", "Save"), "prefix")


def test_sha256_is_of_the_content_and_not_of_the_layout(tmp_path):
    one, two = tmp_path / "a.json", tmp_path / "b.json"
    one.write_text(json.dumps(NODES, indent=4))
    two.write_text(json.dumps(dict(reversed(NODES.items()))))
    assert load_graph(one).sha256 == load_graph(two).sha256 == sha256_of(NODES)
    assert sha256_of(changed(**{"1": NODES["2"]})) != sha256_of(NODES)


def test_title_of_a_running_node():
    graph = graph_from(NODES)
    assert graph.title_of("2") == "Grow mask"
    assert graph.title_of("2:7") == "Grow mask"
    assert graph.title_of("77") == "77"


def test_the_pinned_graph_loads():
    graph = load_graph(Path(__file__).parents[2] / "workflows" / "avatar.json")
    assert graph.titles()["Animate in windows"] == "CMAnimateWindows"
