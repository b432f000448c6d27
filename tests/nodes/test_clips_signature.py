"""A signature is the same for what would make the same clip, and another one for everything else."""

import copy
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.clips.signature import comfyui_files, signature
from tests.engine.comfy_import import import_comfyui

CONTENTS = {"a/start.png": "picture one", "b/start.png": "picture one", "other.png": "picture two"}

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a/start.png"}},
    "2": {"class_type": "UNETLoader", "inputs": {"unet_name": "wan.safetensors", "weight_dtype": "default"}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lake at dawn", "clip": ["9", 0]}},
    "4": {"class_type": "WanImageToVideo", "inputs": {"start_image": ["1", 0], "positive": ["3", 0], "length": 81}},
    "5": {"class_type": "RandomNoise", "inputs": {"noise_seed": 7}},
    "6": {"class_type": "Sampler", "inputs": {"model": ["2", 0], "noise": ["5", 0], "a": ["4", 0], "b": ["4", 2]}},
    "7": {"class_type": "CMKeepFrames", "inputs": {"frames": ["6", 0], "name": "clip"}, "_meta": {"title": "Keep"}},
    "8": {"class_type": "CMSaveVideo", "inputs": {"frames": ["7", 0], "crf": 17.0}},
    "9": {"class_type": "CLIPLoader", "inputs": {"clip_name": "umt5.safetensors", "type": "wan"}},
}
UPSTREAM = ["1", "2", "3", "4", "5", "6", "9"]
WIDGETS = [
    (node, name) for node in UPSTREAM for name, value in GRAPH[node]["inputs"].items() if not isinstance(value, list)
]


def signed(graph, keep="7", version=""):
    return signature(graph, graph[keep]["inputs"]["frames"], CONTENTS.get, version)


@given(st.sampled_from(WIDGETS), st.one_of(st.integers(), st.text(), st.floats(allow_nan=False), st.booleans()))
def test_any_changed_value_upstream_changes_it(widget, value):
    node, name = widget
    graph = copy.deepcopy(GRAPH)
    before = graph[node]["inputs"][name]
    graph[node]["inputs"][name] = value
    same = type(value) is type(before) and CONTENTS.get(value, value) == CONTENTS.get(before, before)
    assert (signed(graph) == signed(GRAPH)) == same


@given(st.permutations(sorted(GRAPH)), st.text(max_size=5), st.randoms())
def test_numbers_titles_and_order_do_not_count(names, title, random):
    renamed = dict(zip(sorted(GRAPH), (f"{name}:{name}" for name in names), strict=True))

    def link(value):
        return [renamed[value[0]], value[1]] if isinstance(value, list) else value

    nodes = []
    for node_id, node in GRAPH.items():
        inputs = [(name, link(value)) for name, value in node["inputs"].items()]
        random.shuffle(inputs)
        nodes.append(
            (renamed[node_id], {"class_type": node["class_type"], "inputs": dict(inputs), "_meta": {"title": title}})
        )
    random.shuffle(nodes)
    assert signed(dict(nodes), renamed["7"]) == signed(GRAPH)


def changed(node, **inputs):
    graph = copy.deepcopy(GRAPH)
    graph[node]["inputs"].update(inputs)
    return graph


def test_the_same_picture_elsewhere_does_not_count_and_another_picture_does():
    assert signed(changed("1", image="b/start.png")) == signed(GRAPH)
    assert signed(changed("1", image="other.png")) != signed(GRAPH)


def test_only_what_is_upstream_counts():
    assert signed(changed("8", crf=30.0)) == signed(GRAPH)
    assert signed(changed("7", name="another")) == signed(GRAPH)
    assert signed({**GRAPH, "20": {"class_type": "LoadImage", "inputs": {"image": "other.png"}}}) == signed(GRAPH)


def test_links_count():
    others = [
        changed("6", b=["4", 1]),  # another output
        changed("6", b=["3", 0]),  # another node
        changed("6", a=["4", 2], b=["4", 0]),  # the same links the other way round
        changed("6", c=["5", 0]),  # one more
        changed("6", noise=7),  # a value in a link's place
    ]
    del others[0]["4"]["inputs"]["start_image"]
    assert len({signed(graph) for graph in [GRAPH, *others]}) == 6
    kind = copy.deepcopy(GRAPH)
    kind["6"]["class_type"] = "AnotherSampler"
    assert signed(kind) != signed(GRAPH)
    assert signed(GRAPH, version="0.34") != signed(GRAPH)


def test_a_text_is_no_file_of_the_same_content():
    assert signed(changed("3", text="picture one")) != signed(changed("3", text="a/start.png"))


def test_values_in_lists_and_tables_count():
    graphs = [changed("5", noise_seed={"__value__": [value, 0]}) for value in ("1", "2", "a/start.png", "b/start.png")]
    assert len({signed(graph) for graph in graphs}) == 3


def test_what_cannot_be_signed():
    with pytest.raises(KeyError):
        signed(changed("6", noise=["55", 0]))
    with pytest.raises(ValueError, match="itself"):
        signed(changed("3", clip=["4", 0]))
    for link in (None, "6", ["6"], 3):
        with pytest.raises(ValueError, match="not a link"):
            signature(GRAPH, link)


def test_a_long_chain_is_signed_and_quickly():
    graph = {"0": {"class_type": "Start", "inputs": {}}}
    for number in range(1, 5000):  # every node twice from the next: 2 ** 5000 ways through
        graph[str(number)] = {"class_type": "Next", "inputs": {name: [str(number - 1), 0] for name in "ab"}}
    assert len(signature(graph, ["4999", 0])) == 64


@pytest.mark.engine
def test_files_of_comfyui(tmp_path_factory, tmp_path, monkeypatch):
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    import folder_paths

    models, inputs, output = (tmp_path / name for name in ("models", "input", "output"))
    for path, text in {
        inputs / "job1" / "a.png": "one", inputs / "job2" / "b.png": "one", inputs / "c.png": "two",
        output / "a.png": "one", models / "sub" / "wan.safetensors": "weights", tmp_path / "secret": "key",
    }.items():  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(folder_paths, "input_directory", str(inputs))
    monkeypatch.setattr(folder_paths, "output_directory", str(output))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "vae", ([str(models)], {".safetensors"}))
    one, same, two = (comfyui_files(name) for name in ("job1/a.png", "job2/b.png", "c.png"))
    assert one == same == comfyui_files("a.png [output]") != two
    assert None not in (one, two)
    for text in ("", "job1", "euler", "../secret", "a\nb.png", "\0", "x" * 5000, "."):
        assert comfyui_files(text) is None, text
    weights = comfyui_files("sub/wan.safetensors")
    os.utime(models / "sub" / "wan.safetensors", ns=(1, 1))
    assert comfyui_files("sub/wan.safetensors") != weights
    (models / "sub" / "wan.safetensors").rename(models / "wan.safetensors")
    assert comfyui_files("wan.safetensors") != weights
    elsewhere = comfyui_files(str(tmp_path / "secret"))
    (tmp_path / "secret").write_text("changed")
    assert comfyui_files(str(tmp_path / "secret")) != elsewhere
    (inputs / "c.png").write_text("one")
    assert comfyui_files("c.png") == one
