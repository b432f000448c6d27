"""diffusers' names of SVD's UNet as core's; against core itself in tests/engine/test_mimicmotion_load.py."""

import pytest

from custom_nodes.comfy_motion.mimicmotion.keys import core_names
from demo.tiny_mimicmotion_shapes import diffusers_name
from demo.tiny_svd_shapes import SVD_LEVELS, TINY_LEVELS, unet_shapes


@pytest.mark.parametrize("levels", [SVD_LEVELS, TINY_LEVELS, (0, 1, 2, 3)])
def test_names_go_there_and_back(levels):
    """demo/'s table, held to diffusers' by the engine tests, leads the other way."""
    core = list(unet_shapes(levels))
    theirs = [diffusers_name(name) for name in core]
    assert len(set(theirs)) == len(core)
    assert core_names(theirs) == dict(zip(theirs, core, strict=True))


def test_examples():
    names = {
        "conv_in.weight": "input_blocks.0.0.weight",
        "add_embedding.linear_2.bias": "label_emb.0.2.bias",
        "down_blocks.1.resnets.0.temporal_res_block.norm1.weight": "input_blocks.4.0.time_stack.in_layers.0.weight",
        "down_blocks.0.attentions.1.temporal_transformer_blocks.0.norm_in.bias": (
            "input_blocks.2.1.time_stack.0.norm_in.bias"
        ),
        "down_blocks.2.downsamplers.0.conv.weight": "input_blocks.9.0.op.weight",
        "mid_block.resnets.1.spatial_res_block.conv2.bias": "middle_block.2.out_layers.3.bias",
        "up_blocks.0.upsamplers.0.conv.weight": "output_blocks.2.1.conv.weight",
        "up_blocks.1.attentions.0.time_pos_embed.linear_1.weight": "output_blocks.3.1.time_pos_embed.0.weight",
        "up_blocks.1.upsamplers.0.conv.weight": "output_blocks.5.2.conv.weight",  # behind the attention
        "up_blocks.3.resnets.2.spatial_res_block.conv_shortcut.weight": "output_blocks.11.0.skip_connection.weight",
        "up_blocks.3.resnets.2.time_mixer.mix_factor": "output_blocks.11.0.time_mixer.mix_factor",
    }
    assert core_names(names) == names


@pytest.mark.parametrize(
    "name",
    [
        "conv_in",
        "conv_out.odd.weight",
        "odd.weight",
        "down_blocks.0.odd.0.weight",
        "down_blocks.0.resnets.2.time_mixer.mix_factor",
        "up_blocks.0.resnets.3.time_mixer.mix_factor",
        "down_blocks.0.upsamplers.0.conv.weight",
        "down_blocks.0.resnets.0.norm1.weight",
        "mid_block.resnets.2.time_mixer.mix_factor",
        "mid_block.downsamplers.0.conv.weight",
    ],
)
def test_names_of_other_networks_have_none(name):
    assert core_names([name]) == {name: None}
