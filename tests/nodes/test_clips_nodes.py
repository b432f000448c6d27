"""nodes/clips.py in a real ComfyUI process, and Keep Frames under ComfyUI's own executor: what runs, what does not."""

import copy
import shutil
import types

import pytest
import torch

from tests.engine.comfy_import import import_comfyui

pytestmark = pytest.mark.engine

IMAGES = torch.randint(0, 256, (5, 16, 24, 3), generator=torch.Generator().manual_seed(0)) / 255


@pytest.fixture(scope="module")
def comfy(tmp_path_factory):
    """The nodes, ComfyUI's executor, and two nodes of the test's own: one that makes frames, one that looks."""
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    import execution
    import folder_paths
    import nodes
    from comfy_api.latest import io

    from custom_nodes.comfy_motion.nodes import clips
    from custom_nodes.comfy_motion.nodes.types import FRAMES
    from custom_nodes.comfy_motion.video.frames import TensorFrames, to_uint8

    made, seen = [], []

    class Make(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            inputs = [io.Int.Input("seed"), io.String.Input("image"), io.Image.Input("start", optional=True)]
            return io.Schema(node_id="TestMake", category="test", inputs=inputs, outputs=[FRAMES.Output()])

        @classmethod
        def execute(cls, seed, image, start=None):
            made.append(seed)
            return io.NodeOutput(TensorFrames(to_uint8((IMAGES + seed / 255) % 1)))

    class Look(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            inputs = [FRAMES.Input("frames"), io.Image.Input("image"), io.Int.Input("count")]
            return io.Schema(node_id="TestLook", category="test", inputs=inputs, outputs=[], is_output_node=True)

        @classmethod
        def execute(cls, frames, image, count):
            seen.append((frames.read(0, count), image))
            return io.NodeOutput()

    classes = {node.define_schema().node_id: node for node in clips.NODES}
    nodes.NODE_CLASS_MAPPINGS.update({**classes, "TestMake": Make, "TestLook": Look})
    return types.SimpleNamespace(
        **classes, classes=classes, execution=execution, paths=folder_paths, io=io, made=made, seen=seen
    )


@pytest.fixture
def world(comfy, tmp_path, monkeypatch):
    """Folders of this test alone, and `run(prompt)`: the errors of one run; `restart()` forgets what is in memory."""
    for name in ("user", "temp", "input"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(comfy.paths, f"{name}_directory", str(tmp_path / name), raising=False)
    monkeypatch.setattr(comfy.paths, "get_user_directory", lambda: str(tmp_path / "user"))
    server = types.SimpleNamespace(client_id=None, last_node_id=None, send_sync=lambda *args: None)

    def restart():
        kind = comfy.execution.CacheType.CLASSIC
        world.executor = comfy.execution.PromptExecutor(server, kind, {"ram": 0, "ram_inactive": 0, "lru": 0})

    def run(prompt, outputs=("3",)):
        comfy.made.clear(), comfy.seen.clear()
        world.executor.execute(copy.deepcopy(prompt), "a-prompt", {}, list(outputs))
        return [data["exception_message"] for event, data in world.executor.status_messages if "error" in event]

    world = types.SimpleNamespace(run=run, restart=restart, kept=tmp_path / "user" / "comfy_motion" / "kept")
    world.input = tmp_path / "input"
    for name in ("a.png", "b.png"):
        (world.input / name).write_text("the same picture")
    restart()
    return world


def graph(seed=1, image="a.png", name="clip"):
    return {
        "1": {"class_type": "TestMake", "inputs": {"seed": seed, "image": image}},
        "2": {"class_type": "CMKeepFrames", "inputs": {"frames": ["1", 0], "name": name}},
        "3": {"class_type": "TestLook", "inputs": {"frames": ["2", 0], "image": ["2", 1], "count": ["2", 2]}},
    }


def renumbered(prompt):
    def link(value):
        return [f"9{value[0]}", value[1]] if isinstance(value, list) else value

    return {
        f"9{node_id}": {**node, "inputs": {name: link(value) for name, value in node["inputs"].items()}}
        for node_id, node in prompt.items()
    }


def test_a_kept_clip_is_not_made_again(comfy, world):
    assert world.run(graph()) == []
    assert comfy.made == [1]
    frames, last = comfy.seen[0]
    assert torch.equal(frames, ((IMAGES + 1 / 255) % 1 * 255).round().to(torch.uint8))
    assert last.dtype == torch.float32
    assert torch.equal(last, frames[4:] / 255.0)
    folder = next((world.kept / "clip").iterdir())
    for prompt in (graph(), graph(image="b.png"), renumbered(graph())):
        world.restart()
        assert world.run(prompt, [sorted(prompt)[-1]]) == []
        assert comfy.made == []
        assert torch.equal(comfy.seen[0][0], frames)
        assert torch.equal(comfy.seen[0][1], last)
    assert list((world.kept / "clip").iterdir()) == [folder]


def test_what_changed_is_made(comfy, world):
    world.run(graph())
    (world.input / "b.png").write_text("another picture")
    for number, prompt in enumerate((graph(seed=2), graph(image="b.png")), start=2):
        assert world.run(prompt) == []
        assert len(comfy.made) == 1
        assert len(list((world.kept / "clip").iterdir())) == number


def test_a_removed_folder_is_noticed_without_a_restart(comfy, world):
    world.run(graph())
    assert (world.run(graph()), comfy.made, comfy.seen) == ([], [], [])  # ComfyUI's own memory answers
    shutil.rmtree(world.kept / "clip")
    assert world.run(graph()) == []
    assert len(comfy.seen) == 1
    assert len(list((world.kept / "clip").iterdir())) == 1
    assert (world.run(graph()), comfy.seen) == ([], [])


def test_a_damaged_clip_is_made_again(comfy, world):
    world.run(graph())
    next(world.kept.rglob("*.nut")).unlink()
    world.restart()
    assert (world.run(graph()), comfy.made) == ([], [1])
    assert len(comfy.seen[0][0]) == 5


def test_a_chain_goes_on_from_the_last_piece_that_is_kept(comfy, world):
    prompt = graph()
    del prompt["3"]
    prompt["4"] = {"class_type": "TestMake", "inputs": {"seed": 2, "image": "a.png", "start": ["2", 1]}}
    prompt["5"] = {"class_type": "CMKeepFrames", "inputs": {"frames": ["4", 0], "name": "clip"}}
    prompt["6"] = {"class_type": "CMJoinFrames", "inputs": {"first": ["2", 0], "second": ["5", 0], "drop": 1}}
    prompt["7"] = {"class_type": "TestLook", "inputs": {"frames": ["6", 0], "image": ["5", 1], "count": ["6", 1]}}
    assert world.run(prompt, ["7"]) == []
    assert comfy.made == [1, 2]
    whole = comfy.seen[0][0]
    assert len(whole) == 9
    world.restart()
    assert (world.run(prompt, ["7"]), comfy.made) == ([], [])
    assert torch.equal(comfy.seen[0][0], whole)
    world.restart()
    prompt["4"]["inputs"]["seed"] = 3
    assert (world.run(prompt, ["7"]), comfy.made) == ([], [3])
    world.restart()
    prompt["1"]["inputs"]["seed"] = 4  # the second was made from the first's last frame
    assert (world.run(prompt, ["7"]), comfy.made) == ([], [4, 3])


def test_a_name_that_is_no_folders_is_refused(comfy, world):
    errors = world.run(graph(name="../elsewhere"))
    assert len(errors) == 1
    assert errors[0].startswith("[invalid_value]")
    assert not world.kept.exists()


def test_called_without_a_prompt_the_frames_pass_and_nothing_is_kept(comfy, world):
    from custom_nodes.comfy_motion.video.frames import TensorFrames, to_uint8

    node = comfy.CMKeepFrames.PREPARE_CLASS_CLONE({"hidden_inputs": {}})
    assert node.check_lazy_status("clip") == ["frames"]
    frames, last, count = node.execute("clip", TensorFrames(to_uint8(IMAGES))).args
    assert torch.equal(frames.read(0, 5), to_uint8(IMAGES))
    assert torch.equal(last, IMAGES[4:])
    assert count == 5
    assert not world.kept.exists()
    with pytest.raises(ValueError, match="run again"):
        node.execute("clip")


def test_the_other_nodes(comfy):
    from custom_nodes.comfy_motion.video.frames import TensorFrames, to_uint8

    high, low = comfy.CMSplitAtBoundary.execute(torch.tensor([1.0, 0.95, 0.5, 0.0]), 0.9).args
    assert (high.tolist(), low.tolist()) == (pytest.approx([1.0, 0.95, 0.5]), [0.5, 0.0])
    frames = TensorFrames(to_uint8(IMAGES))
    joined, count = comfy.CMJoinFrames.execute(frames, frames, 2).args
    assert (joined.num_frames, count) == (8, 8)
    assert comfy.CMMatchColour.execute(frames, IMAGES[:1], 0.0).args == (frames,)
    vae = types.SimpleNamespace(latent_dim=3, decode=lambda latents: IMAGES[None])
    decoded = comfy.CMDecodeVideo.execute({"samples": torch.zeros(1, 16, 2, 2, 3)}, vae, 23.976, 0).args[0]
    assert torch.equal(decoded.read(0, 5), to_uint8(IMAGES))
    assert float(decoded.fps) == 24000 / 1001


def test_ids_inputs_and_outputs_are_the_ones_of_the_graphs(comfy):
    def shape(node):
        schema = node.define_schema()
        assert all(i.tooltip for i in schema.inputs)
        assert node.GET_NODE_INFO_V1()
        return [i.id for i in schema.inputs], [o.display_name for o in schema.outputs]

    assert {name: shape(node) for name, node in comfy.classes.items()} == {
        "CMSplitAtBoundary": (["sigmas", "boundary"], ["high_sigmas", "low_sigmas"]),
        "CMDecodeVideo": (["samples", "vae", "fps", "chunk"], ["frames"]),
        "CMMatchColour": (["frames", "reference", "strength"], ["frames"]),
        "CMKeepFrames": (["frames", "name"], ["frames", "last_frame", "num_frames"]),
        "CMJoinFrames": (["first", "second", "drop"], ["frames", "num_frames"]),
    }
