"""operations/scenes.py: one graph for a chain of scenes, out of the pinned graph of one."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import JobError
from worker.graph import graph_from, reachable
from worker.operations.i2v import I2V
from worker.operations.scenes import PER_SCENE, of_scene, unroll

from .asking import Asked, picture

I2V_OPERATION = I2V()
ASKED = Asked(I2V_OPERATION, {"image_minio_path": "in/a.png"})
GRAPHS = I2V_OPERATION.graphs
COUNTS = st.integers(1, 32)
SCENE = st.fixed_dictionaries(
    {"prompt": st.text("abc é", min_size=1, max_size=9).filter(str.strip)},
    optional={"num_frames": st.integers(1, 40).map(lambda n: 4 * n + 1), "seed": st.integers(0, 2**63 - 1)},
)


def by_title(nodes):
    found = {node["_meta"]["title"]: (node_id, node["inputs"]) for node_id, node in nodes.items()}
    assert len(found) == len(nodes), "titles are unique"
    return found


@pytest.mark.parametrize("name", GRAPHS)
def test_one_scene_is_the_pinned_graph_itself(name):
    assert unroll(GRAPHS[name], 1) is GRAPHS[name]


@given(name=st.sampled_from(sorted(GRAPHS)), count=COUNTS)
def test_the_graph_is_whole(name, count):
    pinned = copy.deepcopy(dict(GRAPHS[name].nodes))
    graph = unroll(GRAPHS[name], count)
    assert dict(GRAPHS[name].nodes) == pinned, "the pinned graph stays as it is"
    # What each scene after the first has: its copies, the colour match and the join.
    assert len(graph.nodes) == len(pinned) + (count - 1) * (len(PER_SCENE) + 2)
    by_title(graph.nodes)
    for node_id, node in graph.nodes.items():
        assert node_id.isdecimal()
        links = [value for value in node["inputs"].values() if isinstance(value, list)]
        assert all(source in graph.nodes for source, _ in links)
    ends = [by_title(graph.nodes)[title][0] for title in ("Save MP4", "Save last frame")]
    assert reachable(graph.nodes, ends) == set(graph.nodes), "every node is needed"
    classes = {title: class_type for title, class_type in graph.titles().items() if "(scene" in title}
    assert set(classes.values()) <= {name for _, name in PER_SCENE} | {"CMMatchColour", "CMJoinFrames"}


@given(name=st.sampled_from(sorted(GRAPHS)), count=COUNTS)
def test_the_chain(name, count):
    nodes = by_title(unroll(GRAPHS[name], count).nodes)
    ids = {title: node_id for title, (node_id, _) in nodes.items()}
    inputs = {title: values for title, (_, values) in nodes.items()}
    joined = "Keep segment"
    for number in range(2, count + 1):
        own = f" (scene {number})"
        before = ids["Keep segment" if number == 2 else f"Keep segment (scene {number - 1})"]
        assert inputs[f"Image to video{own}"]["start_image"] == [before, 1]
        match = inputs[f"Match colour{own}"]
        assert match == {"frames": [ids[f"Decode video{own}"], 0], "reference": [before, 1], "strength": 1.0}
        assert inputs[f"Keep segment{own}"]["frames"] == [ids[f"Match colour{own}"], 0]
        join = {"first": [ids[joined], 0], "second": [ids[f"Keep segment{own}"], 0], "drop": 1}
        assert inputs[f"Join{own}"] == join
        joined = f"Join{own}"
    last = "Keep segment" if count == 1 else f"Keep segment (scene {count})"
    assert inputs["Save MP4"]["frames"] == [ids[joined], 0]
    assert inputs["Save last frame"]["images"] == [ids[last], 1]
    assert inputs["Image to video"]["start_image"] == [ids["Start image"], 0]


@given(name=st.sampled_from(sorted(GRAPHS)), count=st.integers(2, 32), data=st.data())
def test_a_scene_is_linked_as_the_first_one_is(name, count, data):
    """Each link of a copy goes to the same scene's copy, or to what all share, and to the same output."""
    nodes = unroll(GRAPHS[name], count).nodes
    found, titles = by_title(nodes), {node_id: node["_meta"]["title"] for node_id, node in nodes.items()}
    number = data.draw(st.integers(2, count))
    rewired = {("Image to video", "start_image"), ("Keep segment", "frames")}
    own = {title for title, _ in PER_SCENE}
    for title in own:
        first, copied = found[title][1], found[of_scene((title, ""), number)[0]][1]
        assert set(first) == set(copied)
        for key, value in first.items():
            if isinstance(value, list) and (title, key) not in rewired:
                source = titles[value[0]]
                wanted = of_scene((source, ""), number)[0] if source in own else source
                assert copied[key] == [found[wanted][0], value[1]]


@given(scenes=st.lists(SCENE, min_size=1, max_size=6), seed=st.integers(0, 2**63 - 1), turbo=st.booleans())
def test_each_scene_has_its_own_prompt_length_and_seed(scenes, seed, turbo):
    request = ASKED.parse(scenes=scenes, seed=seed, turbo=turbo, width=64, height=96, fps=12.5)
    bound = ASKED.bound(scenes=scenes, seed=seed, turbo=turbo, width=64, height=96, fps=12.5)
    answered = ASKED.answer(stored=True, scenes=scenes, seed=seed)["segments"]
    kept = I2V_OPERATION.bind(request, {"image": "i"}, {"image": picture()}, "x").kept
    for number, scene in enumerate(scenes, 1):
        wanted = {"num_frames": 81, "seed": (seed + number - 1) % 2**63, **scene}
        assert answered[number - 1] == wanted
        own = "" if number == 1 else f" (scene {number})"
        size = bound[f"Image to video{own}"]
        assert (size["width"], size["height"], size["length"]) == (64, 96, wanted["num_frames"])
        assert bound[f"Prompt{own}"]["text"] == scene["prompt"]
        assert bound[f"Noise{own}"]["noise_seed"] == wanted["seed"]
        assert bound[f"High-noise guider{own}"]["cfg"] == bound[f"Low-noise guider{own}"]["cfg"] == (1 if turbo else 5)
        assert bound[f"Decode video{own}"]["fps"] == 12.5
        assert bound[f"Keep segment{own}"]["name"] == kept, "one folder for all scenes of a job"
    expected = I2V_OPERATION.expected(request, {"image": picture()})
    frames = [scene.get("num_frames", 81) for scene in scenes]
    assert expected.num_frames == sum(frames) - (len(frames) - 1)


def changed(change):
    nodes = copy.deepcopy(dict(GRAPHS["i2v"].nodes))
    change(nodes, {title: node_id for title, (node_id, _) in by_title(nodes).items()})
    return graph_from(nodes)


def test_a_node_put_between_is_refused_and_not_silently_shared():
    def sharpen(nodes, ids):
        inputs = {"images": [ids["Keep segment"], 1]}
        nodes["99"] = {"class_type": "ImageSharpen", "_meta": {"title": "Sharpen"}, "inputs": inputs}

    with pytest.raises(JobError, match=r'graph_invalid.*"Sharpen" hangs on "Keep segment"'):
        unroll(changed(sharpen), 2)


@pytest.mark.parametrize(
    ("title", "key", "value"), [("Save MP4", "frames", ["20", 0]), ("Save last frame", "images", ["1", 0])]
)
def test_ends_that_do_not_hang_on_what_is_kept_are_refused(title, key, value):
    def rewire(nodes, ids):
        nodes[ids[title]]["inputs"][key] = value

    with pytest.raises(JobError, match=f'graph_invalid.*"{title}" does not take its {key}'):
        unroll(changed(rewire), 2)


def test_ids_that_are_no_numbers_are_kept():
    def name(nodes, ids):
        nodes["start"] = nodes.pop(ids["Start image"])
        nodes[ids["Image to video"]]["inputs"]["start_image"] = ["start", 0]

    graph = unroll(changed(name), 3)
    assert by_title(graph.nodes)["Image to video"][1]["start_image"] == ["start", 0]
