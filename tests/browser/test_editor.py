"""The graphs in ComfyUI's own editor: they open whole, and what the editor would submit is the pinned graph."""

import copy
import itertools
import json
import os
import shutil
import urllib.request
from pathlib import Path

import pytest

from demo.sample import ASSETS
from demo.tiny import TINY_NODES, tiny_models
from scripts.example_workflows import SCENES, api_graph
from tests.browser.editor import find_chromium, open_editor
from tests.engine import multitalk_world
from worker.engine import Engine
from worker.errors import JobError
from worker.own_loop import OwnLoop
from worker.settings import Settings

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "custom_nodes" / "comfy_motion" / "example_workflows"
GRAPHS = sorted([*(path.stem for path in (ROOT / "workflows").glob("*.json")), SCENES])


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory):
    """The URL of a real ComfyUI with our pack, tiny weights and the sample input."""
    required = os.environ.get("REQUIRE_COMFYUI") == "1"
    if find_chromium() is None and not required:
        pytest.skip("needs chromium (Debian: apt-get install chromium)")
    models = tiny_models(ROOT / "work" / "test-models")
    engine = Engine(
        Settings(work_path=tmp_path_factory.mktemp("editor"), model_path=models), node_packs=(TINY_NODES,), device="cpu"
    )
    with OwnLoop() as loop:
        try:
            loop.wait(engine.start())
        except JobError as error:
            if error.code != "engine_not_found" or required:
                raise
            pytest.skip(f"needs ComfyUI: {error.message}")
        try:
            # The editor's loaders offer what is in the input folder; the graphs name the samples' files.
            for name in ("person.png", "driving.mp4"):
                shutil.copy(ASSETS / name, engine.input_dir / name)
            (engine.input_dir / "two_people.jpg").write_bytes(multitalk_world.two_people())
            for number in (1, 2):
                (engine.input_dir / f"voice_{number}.wav").write_bytes(multitalk_world.voice(number, 1.0))
            loop.wait(engine.wait_ready(240))
            yield engine.base_url
        finally:
            loop.wait(engine.stop())


@pytest.fixture(scope="module")
def editor(comfyui):
    """One open page for all tests; each loads its own graph."""
    with open_editor(comfyui) as page:
        yield page


def test_every_graph_has_its_laid_out_twin():
    assert GRAPHS
    assert sorted(path.stem for path in EXAMPLES.glob("*.json")) == GRAPHS


@pytest.mark.parametrize("name", GRAPHS)
def test_the_example_opens_whole_and_submits_the_pinned_graph(editor, name):
    editor.load(read(EXAMPLES / f"{name}.json"))
    assert editor.unknown_nodes() == []
    assert editor.prompt() == api_graph(name)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_pinned_graph_survives_the_editor(editor, name):
    graph = api_graph(name)
    editor.load_api(graph)
    assert editor.prompt() == graph


def test_a_changed_widget_would_be_noticed(editor):
    changed = copy.deepcopy(read(EXAMPLES / "avatar.json"))
    node = next(node for node in changed["nodes"] if node["type"] == "ModelSamplingSD3")
    node["widgets_values"][0] = 5.0
    editor.load(changed)
    assert editor.prompt() != api_graph("avatar")


def test_an_unknown_node_would_be_noticed(editor):
    changed = copy.deepcopy(read(EXAMPLES / "avatar.json"))
    changed["nodes"][0]["type"] = "CMNoSuchNode"
    editor.load(changed)
    assert editor.unknown_nodes() == ["CMNoSuchNode"]


def test_the_template_browser_offers_the_examples(comfyui):
    with urllib.request.urlopen(f"{comfyui}/workflow_templates") as answer:
        offered = json.load(answer)
    assert sorted(offered["comfy_motion"]) == GRAPHS


@pytest.mark.parametrize("name", GRAPHS)
def test_no_two_nodes_of_an_example_overlap(name):
    boxes = [
        (*node["pos"], *node["size"], node.get("title", node["type"]))
        for node in read(EXAMPLES / f"{name}.json")["nodes"]
    ]
    for (x, y, w, h, one), (u, v, s, t, other) in itertools.combinations(boxes, 2):
        apart = x + w <= u or u + s <= x or y + h <= v or v + t <= y
        assert apart, f"{one} lies over {other}"
