"""What the SVD tests share: core with a tiny checkpoint, and diffusers' UNet and VAE with the same weights.

The names on both sides are written from the two module trees.
"""

import re
import types

import pytest
import torch

from .comfy_import import import_comfyui

WIDTH, HEIGHT, FRAMES = 128, 64, 3
UNET, VAE = "model.diffusion_model.", "first_stage_model."

_UNET_PLACES = {
    r"^time_embed\.0": "time_embedding.linear_1",
    r"^time_embed\.2": "time_embedding.linear_2",
    r"^label_emb\.0\.0": "add_embedding.linear_1",
    r"^label_emb\.0\.2": "add_embedding.linear_2",
    r"^input_blocks\.0\.0": "conv_in",
    r"^out\.0": "conv_norm_out",
    r"^out\.2": "conv_out",
    r"^input_blocks\.(\d+)\.0\.op": lambda m: f"down_blocks.{(int(m[1]) - 1) // 3}.downsamplers.0.conv",
    r"^input_blocks\.(\d+)\.0": lambda m: f"down_blocks.{(int(m[1]) - 1) // 3}.resnets.{(int(m[1]) - 1) % 3}",
    r"^input_blocks\.(\d+)\.1": lambda m: f"down_blocks.{(int(m[1]) - 1) // 3}.attentions.{(int(m[1]) - 1) % 3}",
    r"^middle_block\.0": "mid_block.resnets.0",
    r"^middle_block\.1": "mid_block.attentions.0",
    r"^middle_block\.2": "mid_block.resnets.1",
    r"^output_blocks\.(\d+)\.\d\.conv": lambda m: f"up_blocks.{int(m[1]) // 3}.upsamplers.0.conv",
    r"^output_blocks\.(\d+)\.0": lambda m: f"up_blocks.{int(m[1]) // 3}.resnets.{int(m[1]) % 3}",
    r"^output_blocks\.(\d+)\.1": lambda m: f"up_blocks.{int(m[1]) // 3}.attentions.{int(m[1]) % 3}",
    r"(attentions\.\d\.)time_stack": r"\1temporal_transformer_blocks",
    r"time_pos_embed\.0": "time_pos_embed.linear_1",
    r"time_pos_embed\.2": "time_pos_embed.linear_2",
}
_RESIDUAL = {
    r"(resnets\.\d\.)time_stack": r"\1temporal_res_block",
    r"(resnets\.\d\.)(in_layers|out_layers|emb_layers|skip_connection)": r"\1spatial_res_block.\2",
    r"in_layers\.0": "norm1",
    r"in_layers\.2": "conv1",
    r"out_layers\.0": "norm2",
    r"out_layers\.3": "conv2",
    r"emb_layers\.1": "time_emb_proj",
    r"skip_connection": "conv_shortcut",
}
_VAE_PLACES = {
    r"^decoder\.conv_out\.time_mix_conv": "decoder.time_conv_out",
    r"norm_out": "conv_norm_out",
    r"^encoder\.down\.(\d)": r"encoder.down_blocks.\1",
    r"^decoder\.up\.(\d)": lambda m: f"decoder.up_blocks.{3 - int(m[1])}",
    r"(_blocks\.\d)\.block": r"\1.resnets",
    r"\.downsample\.": ".downsamplers.0.",
    r"\.upsample\.": ".upsamplers.0.",
    r"mid\.block_(\d)": lambda m: f"mid_block.resnets.{int(m[1]) - 1}",
    r"mid\.attn_1\.norm": "mid_block.attentions.0.group_norm",
    r"mid\.attn_1\.([qkv])\.": r"mid_block.attentions.0.to_\1.",
    r"mid\.attn_1\.proj_out": "mid_block.attentions.0.to_out.0",
    r"nin_shortcut": "conv_shortcut",
    r"^(decoder\..*resnets\.\d\.)(norm\d|conv\d|conv_shortcut)": r"\1spatial_res_block.\2",
    r"(resnets\.\d\.)mix_factor": r"\1time_mixer.mix_factor",
}


def renamed(name: str, *tables: dict) -> str:
    for table in tables:
        for pattern, replacement in table.items():
            name = re.sub(pattern, replacement, name)
    return name


def diffusers_unet(weights: dict[str, torch.Tensor]):
    """UNetSpatioTemporalConditionModel of the tiny sizes, with SVD's attention levels."""
    from diffusers import UNetSpatioTemporalConditionModel

    from demo import tiny_svd_shapes as sizes

    widths = tuple(sizes.UNET_WIDTH * mult for mult in sizes.UNET_MULT)
    unet = UNetSpatioTemporalConditionModel(
        block_out_channels=widths,
        num_attention_heads=tuple(width // 64 for width in widths),
        cross_attention_dim=sizes.CONTEXT,
        num_frames=FRAMES,
    )
    own = {name.removeprefix(UNET): value for name, value in weights.items() if name.startswith(UNET)}
    unet.load_state_dict({renamed(n, _UNET_PLACES, _RESIDUAL): value for n, value in own.items()}, strict=True)
    return unet.eval()


def diffusers_vae(weights: dict[str, torch.Tensor]):
    """AutoencoderKLTemporalDecoder of the tiny sizes; its quant_conv, which SVD's own file lacks, does nothing."""
    from diffusers import AutoencoderKLTemporalDecoder

    from demo import tiny_svd_shapes as sizes

    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=tuple(sizes.VAE_WIDTH * mult for mult in sizes.VAE_MULT),
        down_block_types=("DownEncoderBlock2D",) * len(sizes.VAE_MULT),
        layers_per_block=2,
    )
    own = {"quant_conv.weight": torch.eye(8)[..., None, None], "quant_conv.bias": torch.zeros(8)}
    for name, value in weights.items():
        if name.startswith(VAE):
            new = renamed(name.removeprefix(VAE), _VAE_PLACES, _RESIDUAL)
            linear = new.endswith("weight") and re.search(r"attentions\.0\.to_", new)
            own[new] = value[..., 0, 0] if linear else value
    vae.load_state_dict(own, strict=True)
    return vae.eval()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Core's three parts of the tiny file, diffusers' two, core's nodes and ours."""
    base = tmp_path_factory.mktemp("comfyui")
    import_comfyui(base)
    import comfy.sd
    import nodes
    from comfy_extras import nodes_video_model
    from safetensors.torch import load_file

    from custom_nodes.comfy_motion.nodes import svd
    from demo import tiny_nodes, tiny_svd
    from demo.tiny_svd_shapes import SVD_LEVELS

    path = tiny_svd.write_tiny_svd(base / "models", SVD_LEVELS)
    model, _, vae, clip_vision = comfy.sd.load_checkpoint_guess_config(
        str(path), output_clip=False, output_clipvision=True
    )
    weights = load_file(path)
    return types.SimpleNamespace(
        path=path, model=model, vae=vae, clip_vision=clip_vision, unet=diffusers_unet(weights),
        reference_vae=diffusers_vae(weights), nodes=nodes, video_nodes=nodes_video_model, ours=svd, comfy=comfy,
        tiny_nodes=tiny_nodes,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def as_in_comfyui():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


def picture(width: int = 160, height: int = 120) -> torch.Tensor:
    """[1, height, width, 3] in 0..1, different everywhere, sharp enough to show another crop or scale."""
    return torch.rand((1, height, width, 3), generator=torch.Generator().manual_seed(5))


def condition(world, image=None, fps: int = 6, motion_bucket_id: int = 127, strength: float = 0.02, seed: int = 11):
    """(positive, negative, latent) of the graph's two nodes."""
    image = picture() if image is None else image
    core = world.video_nodes.SVD_img2vid_Conditioning()
    positive, negative, latent = core.encode(
        world.clip_vision, image, world.vae, WIDTH, HEIGHT, FRAMES, motion_bucket_id, fps, 0.0
    )
    made = world.ours.CMAugmentStart.execute(
        positive, negative, image, world.vae, WIDTH, HEIGHT, strength, seed, clip_vision=world.clip_vision
    )
    return *made.args, latent


def relative_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    return ((value - expected).norm() / expected.norm()).item()
