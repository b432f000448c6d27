"""MultiTalk's weights: which file is loaded as what, and that no other is, however it is called."""

import json
import struct
import types

import pytest
import torch

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.talk import load as loading
from custom_nodes.comfy_motion.talk.checks import check_model

from .comfy_import import import_comfyui

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """models/model_patches with the tiny patch under all its names, in this ComfyUI's folders."""
    base = tmp_path_factory.mktemp("comfyui")
    import_comfyui(base)
    import comfy.sd  # noqa: F401 - core's loader does not import all that it uses
    import folder_paths
    from safetensors.torch import save_file

    from demo.tiny_multitalk import half_weights
    from demo.tiny_multitalk_shapes import patch_shapes

    path = tmp_path_factory.mktemp("model_patches") / "multitalk.safetensors"
    save_file(half_weights(patch_shapes(), 3), path)
    for name in ("wan2.1_infiniteTalk_single_fp16.safetensors", "wan2.1_infiniteTalk_multi_fp16.safetensors"):
        (path.parent / name).hardlink_to(path)
    folder_paths.add_model_folder_path("model_patches", str(path.parent), is_default=True)
    return path.parent


@pytest.fixture(scope="module")
def shapes(folder):
    return dict(loading.read_header(folder / "multitalk.safetensors"))


@pytest.mark.parametrize(
    ("name", "loop", "voices"),
    [
        ("multitalk.safetensors", "multitalk", 2),
        ("wan2.1_infiniteTalk_multi_fp16.safetensors", "infinitetalk", 2),
        ("wan2.1_infiniteTalk_single_fp16.safetensors", "infinitetalk", 1),
    ],
)
def test_each_file_says_which_loop_and_how_many_voices(folder, name, loop, voices):
    patch = loading.load_multitalk(name)
    assert type(patch.model).__name__ == "MultiTalkModelPatch"
    for given in (patch, patch.clone()):
        assert loading.kind_of_patch(given) == loading.TalkModel(name, loop, voices)


@pytest.mark.parametrize(
    ("name", "loop", "voices"),
    [
        ("sub/InfiniteTalk-Single_fp8.safetensors", "infinitetalk", 1),
        ("infinitetalk.safetensors", "infinitetalk", 2),
        ("single/multitalk.safetensors", "multitalk", 2),
        ("infinitetalk_old/multitalk.safetensors", "multitalk", 2),
    ],
)
def test_the_files_own_name_counts(name, loop, voices):
    assert (loading.kind_of(name).loop, loading.kind_of(name).max_voices) == (loop, voices)


def test_weights_for_one_voice_are_refused_for_two():
    single = loading.kind_of("wan2.1_infiniteTalk_single_fp16.safetensors")
    check_model(single, types.SimpleNamespace(num_voices=1))
    with pytest.raises(MotionError, match=r"model_file.*single_fp16.*one voice.*there are 2.*multi"):
        check_model(single, types.SimpleNamespace(num_voices=2))
    check_model(loading.kind_of("multitalk.safetensors"), types.SimpleNamespace(num_voices=2))


def test_a_patch_of_cores_own_loader_is_taken_and_others_are_not(folder):
    from comfy_extras.nodes_model_patch import ModelPatchLoader

    (patch,) = ModelPatchLoader().load_model_patch("multitalk.safetensors")
    assert (loading.kind_of_patch(patch).loop, loading.kind_of_patch(patch).max_voices) == ("multitalk", 2)
    other = types.SimpleNamespace(attachments={}, model=torch.nn.Linear(1, 1))
    with pytest.raises(MotionError, match=r"model_file.*Linear"):
        loading.kind_of_patch(other)


def refused(shapes, match: str) -> None:
    with pytest.raises(MotionError, match=r"model_file.*x\.safetensors.*" + match + ".*models/model_patches"):
        loading.check(shapes, "x.safetensors")


def test_other_files_are_named(shapes):
    refused({}, "0 tensors .none., none of MultiTalk's")
    refused({"a": (1,), "b": (2,)}, "2 tensors .a, b.")
    refused({"controlnet_patch_embedding.weight": (8, 16)}, "Uni3C")
    refused({"patch_embedding.weight": (8, 16)}, "whole video model")
    projection = {name: shape for name, shape in shapes.items() if name.startswith("audio_proj")}
    refused(projection, "no attention blocks")


def test_a_file_that_is_not_whole_or_not_as_core_has_it_is_refused(shapes):
    loading.check(shapes, "x.safetensors")
    last = "blocks.39.norm_x.weight"
    refused({name: shape for name, shape in shapes.items() if name != last}, f"{last} and 0 more")
    refused({name: shape for name, shape in shapes.items() if ".39." not in name}, "7 more of its tensors are missing")
    refused(shapes | {"blocks.40.norm_x.weight": (640,)}, "blocks.40.norm_x.weight and 0 more")
    refused(shapes | {"audio_proj.proj1.weight": (16, 5 * 24 * 1024)}, r"\[16, 122880\] and must be \[16, 46080\]")
    refused(shapes | {"blocks.7.audio_cross_attn.q_linear.bias": (128,)}, "blocks.7.*128.*640")


def test_files_that_are_no_safetensors_are_refused_unread(folder):
    cases = {
        "pickle.safetensors": (b"PK\x03\x04" + b"\xff" * 100, "no safetensors file"),
        "empty.safetensors": (b"", "no safetensors file"),
        "page.safetensors": (b"<!DOCTYPE html><html>not found</html>", "no safetensors file"),
    }
    header = json.dumps({"a": {"dtype": "F16", "shape": [9], "data_offsets": [0, 18]}}).encode()
    cases["short.safetensors"] = (struct.pack("<Q", len(header)) + header + b"\0" * 5, "13 bytes are missing")
    for name, (content, match) in cases.items():
        (folder / name).write_bytes(content)
        with pytest.raises(MotionError, match=rf"model_file.*{name}.*{match}"):
            loading.load_multitalk(name)
    with pytest.raises(MotionError, match=r"model_file.*no file gone\.safetensors"):
        loading.load_multitalk("gone.safetensors")


def test_no_weight_of_another_file_is_read(folder, monkeypatch):
    from safetensors.torch import save_file

    save_file({"encoder.layers.0.attention.k_proj.weight": torch.zeros(4, 4)}, folder / "other.safetensors")

    def read(*_, **__):
        raise AssertionError("the weights were read")

    monkeypatch.setattr("comfy.utils.load_torch_file", read)
    with pytest.raises(MotionError, match=r"model_file.*other\.safetensors.*audio encoder"):
        loading.load_multitalk("other.safetensors")


def test_a_whole_file_is_whole_where_cores_layers_have_no_weights_before_loading(shapes, monkeypatch):
    """Core's dynamic memory on a GPU; seen on an H200, where every file was refused."""
    import comfy.memory_management
    import comfy.ops

    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)
    assert comfy.ops.manual_cast.Linear(2, 2).weight is None
    loading.check(shapes, "multitalk.safetensors")


def test_the_node(folder):
    from custom_nodes.comfy_motion.nodes.talk_loaders import CMLoadMultiTalk

    offered = CMLoadMultiTalk.INPUT_TYPES()["required"]["name"][1]["options"]
    assert "multitalk.safetensors" in offered
    (patch,) = CMLoadMultiTalk.execute("multitalk.safetensors").args
    assert loading.kind_of_patch(patch).loop == "multitalk"
