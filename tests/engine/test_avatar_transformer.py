"""Core's Wan-Animate transformer against diffusers' with the same random weights."""

import re

import pytest
import torch

from .avatar_world import HEIGHT, LENGTH, WIDTH, as_in_comfyui, faces, noise, world  # noqa: F401

pytestmark = pytest.mark.engine

NAMES = {
    r"^head\.modulation": "scale_shift_table",
    r"^head\.head": "proj_out",
    r"^text_embedding\.0": "condition_embedder.text_embedder.linear_1",
    r"^text_embedding\.2": "condition_embedder.text_embedder.linear_2",
    r"^time_embedding\.0": "condition_embedder.time_embedder.linear_1",
    r"^time_embedding\.2": "condition_embedder.time_embedder.linear_2",
    r"^time_projection\.1": "condition_embedder.time_proj",
    r"^img_emb\.proj\.0": "condition_embedder.image_embedder.norm1",
    r"^img_emb\.proj\.1": "condition_embedder.image_embedder.ff.net.0.proj",
    r"^img_emb\.proj\.3": "condition_embedder.image_embedder.ff.net.2",
    r"^img_emb\.proj\.4": "condition_embedder.image_embedder.norm2",
    r"^(blocks\.\d+)\.modulation": r"\1.scale_shift_table",
    r"\.norm3\.": ".norm2.",
    r"\.ffn\.0\.": ".ffn.net.0.proj.",
    r"\.ffn\.2\.": ".ffn.net.2.",
    r"\.self_attn\.": ".attn1.",
    r"\.cross_attn\.": ".attn2.",
    r"(attn\d)\.([qkv])\.": r"\1.to_\2.",
    r"(attn\d)\.o\.": r"\1.to_out.0.",
    r"(attn\d)\.([kv])_img\.": r"\1.add_\2_proj.",
    r"norm_k_img": "norm_added_k",
    r"^motion_encoder\.enc\.net_app\.convs\.0\.0": "motion_encoder.conv_in",
    r"^motion_encoder\.enc\.net_app\.convs\.0\.1": "motion_encoder.conv_in.act_fn",
    r"^motion_encoder\.enc\.net_app\.convs\.8": "motion_encoder.conv_out",
    r"^motion_encoder\.enc\.net_app\.convs\.(\d)\.": lambda m: f"motion_encoder.res_blocks.{int(m[1]) - 1}.",
    r"(res_blocks\.\d)\.conv1\.0": r"\1.conv1",
    r"(res_blocks\.\d)\.conv1\.1": r"\1.conv1.act_fn",
    r"(res_blocks\.\d)\.conv2\.1": r"\1.conv2",
    r"(res_blocks\.\d)\.conv2\.2": r"\1.conv2.act_fn",
    r"(res_blocks\.\d)\.skip\.1": r"\1.conv_skip",
    r"^motion_encoder\.enc\.fc\.": "motion_encoder.motion_network.",
    r"^motion_encoder\.dec\.direction\.weight": "motion_encoder.motion_synthesis_weight",
    r"^(face_encoder\.conv\w+)\.conv\.": r"\1.",
    r"^face_adapter\.fuser_blocks\.(\d)\.": r"face_adapter.\1.",
    r"(face_adapter\.\d)\.linear1_q": r"\1.to_q",
    r"(face_adapter\.\d)\.linear2": r"\1.to_out",
    r"(face_adapter\.\d)\.([qk])_norm": r"\1.norm_\2",
}


def diffusers_weights(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The published names to diffusers'; its blur kernels are constants and its k and v of the face are apart."""
    result = {}
    for name, value in weights.items():
        if name.endswith(".kernel"):
            continue
        if ".linear1_kv." in name:
            to_k = re.sub(r"fuser_blocks\.(\d)\.linear1_kv", r"\1.to_k", name)
            result[to_k], result[to_k.replace("to_k", "to_v")] = value.chunk(2)
            continue
        for pattern, replacement in NAMES.items():
            name = re.sub(pattern, replacement, name)
        result[name] = value.flatten() if name.endswith("act_fn.bias") else value
    return result


@pytest.fixture(scope="module")
def reference(world):
    """diffusers' Wan-Animate with the same weights."""
    from diffusers import WanAnimateTransformer3DModel

    from demo import tiny_wan_shapes as sizes

    model = WanAnimateTransformer3DModel(
        num_attention_heads=sizes.DIM // 128, ffn_dim=sizes.FFN, num_layers=sizes.LAYERS, added_kv_proj_dim=sizes.DIM
    )
    weights = world.comfy.utils.load_torch_file(str(world.files[world.names.MODEL]))
    model.load_state_dict(diffusers_weights({k: v.float() for k, v in weights.items()}), strict=True)
    return model.eval()


def model_input() -> dict:
    """One evaluation: 2 latents of 32x48 pixels and the reference in front, 5 frames of face."""
    return {
        "x": noise(1, 36, 3, 4, 6, seed=1),
        "timestep": torch.tensor([731.0]),
        "context": noise(1, 512, 4096, seed=2),
        "clip_fea": noise(1, 257, 1280, seed=3),
        "pose": noise(1, 16, 2, 4, 6, seed=4),
        "face": faces(5).movedim(-1, 0).unsqueeze(0) * 2 - 1,
    }


def core_output(world, given: dict) -> torch.Tensor:
    world.comfy.model_management.load_models_gpu([world.model])
    network = world.model.get_model_object("diffusion_model")
    return network(
        given["x"],
        given["timestep"],
        given["context"],
        clip_fea=given["clip_fea"],
        pose_latents=given["pose"],
        face_pixel_values=given["face"],
    )


def relative_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    return ((value - expected).norm() / expected.norm()).item()


def test_cores_transformer_is_diffusers(world, reference):
    """The bound is far above rounding (3e-6 seen) and far below any mistake: the twin swaps two pose latents."""
    given = model_input()
    expected = reference(
        given["x"],
        given["timestep"],
        given["context"],
        encoder_hidden_states_image=given["clip_fea"],
        pose_hidden_states=given["pose"],
        face_pixel_values=given["face"],
        return_dict=False,
    )[0]
    error = relative_error(core_output(world, given), expected)
    swapped_pose = relative_error(core_output(world, given | {"pose": given["pose"].flip(2)}), expected)
    late_face = relative_error(core_output(world, given | {"face": given["face"].roll(1, 2)}), expected)
    print(f"\nrelative L2, core against diffusers: {error:.1e}; pose swapped {swapped_pose:.1e}, face {late_face:.1e}")
    assert error < 1e-4
    assert swapped_pose > 1e-2
    assert late_face > 1e-2
