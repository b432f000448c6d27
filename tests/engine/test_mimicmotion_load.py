# ruff: noqa: F811  (pytest finds a fixture by the name of an argument)
"""MimicMotion's file: what core makes of it, the names at their real size, and files that are something else."""

import pickle

import pytest
import torch

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.mimicmotion.keys import core_names

from .svd_world import as_in_comfyui, world  # noqa: F401

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def weights(world, tmp_path_factory):
    from demo.tiny_mimicmotion import write_tiny_mimicmotion

    return torch.load(write_tiny_mimicmotion(tmp_path_factory.mktemp("mimicmotion")), weights_only=True)


def load(path):
    from custom_nodes.comfy_motion.mimicmotion.load import load_mimicmotion

    return load_mimicmotion(path)


def test_every_name_of_the_real_size_is_one_of_cores(world):
    """One to one and onto, shapes too: diffusers' SVD UNet as published against core's, neither with any numbers."""
    import comfy.model_base
    import comfy.supported_models
    from diffusers import UNetSpatioTemporalConditionModel

    with torch.device("meta"):  # its defaults are SVD XT's but for the heads, which have no tensors
        published = UNetSpatioTemporalConditionModel().state_dict()
    names = core_names(published)
    renamed = {names[name]: tuple(value.shape) for name, value in published.items()}
    assert len(renamed) == len(published) == 1428

    config = comfy.supported_models.SVD_img2vid(real_unet_config(renamed))
    config.set_inference_dtype(torch.float16, None)
    core = comfy.model_base.SVD_img2vid(config, device=torch.device("meta")).diffusion_model.state_dict()
    assert renamed == {name: tuple(value.shape) for name, value in core.items()}


def real_unet_config(shapes: dict) -> dict:
    """What core's own detection makes of the names and shapes."""
    from comfy import model_detection

    with torch.device("meta"):
        weights = {name: torch.empty(shape, dtype=torch.float16) for name, shape in shapes.items()}
    return model_detection.model_config_from_unet(weights, "").unet_config


def test_a_safetensors_file_is_the_same(world, weights, tmp_path):
    from safetensors.torch import save_file

    torch.save(weights, tmp_path / "a.pth")
    save_file(weights, tmp_path / "a.safetensors")
    loaded = [load(tmp_path / name) for name in ("a.pth", "a.safetensors")]
    states = [model.model.diffusion_model.state_dict() | net.state_dict() for model, net in loaded]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert type(loaded[0][0].model).__name__ == "SVD_img2vid"


class Runs:
    """What a pickle must not be able to do."""

    def __reduce__(self):
        return (print, ("this must not be run",))


def only(weights, prefix, new=""):
    return {new + name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def without(weights, name):
    return {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: only(w, "unet.", "unet."), "no pose_net"),
        (lambda w: only(w, "unet."), "UNet alone and no pose_net"),
        (lambda w: only(w, "pose_net."), "PoseNet and no UNet"),
        (lambda w: {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1)}, "whole checkpoint"),
        (lambda w: {"audio.weight": torch.zeros(1)}, "1 tensors \\(audio.weight\\)"),
        (lambda w: w | {"unet.down_blocks.0.odd.weight": torch.zeros(1)}, "unet.down_blocks.0.odd"),
        (lambda w: without(w, "unet.mid_block.resnets.1.time_mixer.mix_factor"), "not whole"),
        (lambda w: without(w, "pose_net.scale"), "scale"),
        (lambda w: {"unet.conv_in.weight": Runs()}, "no pickle of tensors alone"),
    ],
)  # fmt: skip
def test_another_file_is_refused_with_what_it_is(weights, tmp_path, change, words):
    path = tmp_path / "odd.pth"
    torch.save(change(weights), path)
    with pytest.raises(MotionError, match=words) as refused:
        load(path)
    assert refused.value.code == "model_file"


def test_a_file_that_is_no_pickle_is_refused(world, tmp_path):
    (tmp_path / "half.pth").write_bytes(b"<html>not found</html>")
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"a": 1}))
    for name in ("half.pth", "old.pth", "absent.pth"):
        with pytest.raises(MotionError) as refused:
            load(tmp_path / name)
        assert refused.value.code == "model_file"


def test_the_tiny_files_names_are_diffusers(weights):
    from diffusers import UNetSpatioTemporalConditionModel

    from demo import tiny_svd_shapes as sizes

    widths = tuple(sizes.UNET_WIDTH * mult for mult in sizes.UNET_MULT)
    kinds = [("" if level in sizes.TINY_LEVELS else "No", level) for level in range(4)]
    with torch.device("meta"):
        unet = UNetSpatioTemporalConditionModel(
            block_out_channels=widths,
            num_attention_heads=tuple(width // 64 for width in widths),
            cross_attention_dim=sizes.CONTEXT,
            down_block_types=tuple(_block("Down", with_attention == "") for with_attention, _ in kinds),
            up_block_types=tuple(_block("Up", with_attention == "") for with_attention, _ in reversed(kinds)),
        )
    theirs = {f"unet.{name}": value.shape for name, value in unet.state_dict().items()}
    assert theirs == {name: value.shape for name, value in weights.items() if name.startswith("unet.")}


def _block(way: str, attentive: bool) -> str:
    return f"CrossAttn{way}BlockSpatioTemporal" if attentive else f"{way}BlockSpatioTemporal"
