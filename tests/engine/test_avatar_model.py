"""The transformer against diffusers', the face encoder that runs once, and a whole run in three windows."""

import logging
import re
import types

import pytest
import torch

from .comfy_import import import_comfyui

pytestmark = pytest.mark.engine

WIDTH, HEIGHT, LENGTH, OVERLAP, FRAMES = 64, 48, 5, 1, 11  # 5 + 4 + 2 new frames: three windows
STEPS = 2


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    base = tmp_path_factory.mktemp("comfyui")
    import_comfyui(base)
    import comfy.samplers
    import comfy.sd
    import comfy.utils

    from demo import tiny_nodes, tiny_wan

    files = tiny_wan.write_tiny_wan(base / "models", vae_width=2)
    vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(files[tiny_wan.VAE])), dtype=torch.float32)
    model = comfy.sd.load_diffusion_model(str(files[tiny_wan.MODEL]), model_options={"dtype": torch.float32})
    return types.SimpleNamespace(files=files, names=tiny_wan, vae=vae, model=model, tiny_nodes=tiny_nodes, comfy=comfy)


@pytest.fixture(autouse=True)
def as_in_comfyui():
    with torch.inference_mode():
        yield


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------------------------------
# The transformer

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


def faces(frames: int) -> torch.Tensor:
    """[frames, 512, 512, 3] in 0..1: waves that differ from frame to frame as one face from another."""
    place = torch.linspace(0, 1, 512)
    waves = [torch.sin(place[:, None] * 7 * (n + 1)) * torch.cos(place[None] * (40 - 9 * n)) for n in range(frames)]
    return torch.stack(waves).unsqueeze(-1) * torch.tensor([0.5, 0.3, -0.4]) + 0.5


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


# ---------------------------------------------------------------------------------------------------------------
# The face encoder


class CountedCalls:
    """Counts how often a module of the network runs, each side of the guidance on its own."""

    def __init__(self, module: torch.nn.Module):
        self.count = 0
        self._handle = module.register_forward_hook(self._called)

    def _called(self, _module, inputs, _output) -> None:
        self.count += inputs[0].shape[0]

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self._handle.remove()


def window_input(world, frames: int = LENGTH):
    from custom_nodes.comfy_motion.avatar import conditioning

    positive, negative = ([[noise(1, 16, 4096, seed=s), {"pooled_output": None}]] for s in (1, 2))
    clip_vision_output = types.SimpleNamespace(penultimate_hidden_states=noise(1, 257, 1280, seed=3))
    pixels = conditioning.WindowPixels(noise(frames, HEIGHT, WIDTH, 3, seed=4).clamp(0, 1), faces(frames))
    reference = conditioning.encode_reference(world.vae, None, WIDTH, HEIGHT, "crop")
    return conditioning.condition_window(
        positive, negative, world.vae, reference, pixels,
        width=WIDTH, height=HEIGHT, length=frames, clip_vision_output=clip_vision_output,
    )  # fmt: skip


def generator(world, model, cfg: float, window=None):
    from custom_nodes.comfy_motion.avatar.animate import Generator

    sigmas = world.comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    sampler = world.comfy.samplers.sampler_object("euler")
    positive, negative = (window.positive, window.negative) if window else ([], [])
    clip_vision_output = types.SimpleNamespace(penultimate_hidden_states=noise(1, 257, 1280, seed=3))
    return Generator(model, positive, negative, world.vae, clip_vision_output, sampler, sigmas, cfg, seed=11)


def test_the_face_is_encoded_once_and_the_result_is_the_same_to_the_last_bit(world):
    from custom_nodes.comfy_motion.avatar.face_once import encode_face_once

    window = window_input(world, frames=1)
    patched = encode_face_once(encode_face_once(world.model))  # twice is once
    encoder = world.model.get_model_object("diffusion_model").face_encoder
    results, counts = [], []
    for model in (world.model, patched):
        with CountedCalls(encoder) as calls:
            results.append(generator(world, model, 2.0).sample(window, 5, None))
        counts.append(calls.count)
    assert torch.equal(results[0], results[1])
    assert counts[0] == STEPS * counts[1]
    assert counts[1] == 2  # once for each side
    assert "after_patch_embedding" not in vars(world.model.get_model_object("diffusion_model"))


def test_any_other_model_is_refused(world):
    from custom_nodes.comfy_motion.avatar.face_once import encode_face_once
    from custom_nodes.comfy_motion.errors import MotionError

    other = types.SimpleNamespace(get_model_object=lambda _name: torch.nn.Linear(1, 1))
    with pytest.raises(MotionError, match=r"\[model_file\].*Linear"):
        encode_face_once(other)


# ---------------------------------------------------------------------------------------------------------------
# A whole run


def driving_videos(frames: int):
    from custom_nodes.comfy_motion.avatar.driving import DrivingVideos
    from custom_nodes.comfy_motion.video.frames import TensorFrames, TensorMasks

    def video(seed: int) -> torch.Tensor:
        return (noise(frames, HEIGHT, WIDTH, 3, seed=seed).clamp(0, 1) * 255).to(torch.uint8)

    masks = (noise(frames, HEIGHT, WIDTH, seed=8) > 0).to(torch.uint8)
    face = (faces(frames).clamp(0, 1) * 255).to(torch.uint8)
    return DrivingVideos(TensorFrames(video(6)), TensorFrames(face), TensorFrames(video(7)), TensorMasks(masks))


def test_three_windows_give_exactly_the_frames_of_the_driving_video(world, monkeypatch):
    """Window 1 is, bit for bit, what the nodes give when they are called one after the other by hand."""
    import comfy.sample

    from custom_nodes.comfy_motion.nodes.avatar import CMAnimateWindows
    from custom_nodes.comfy_motion.nodes.wan_animate import CMWanAnimateConditioning
    from custom_nodes.comfy_motion.video.frames import to_float, to_uint8

    class Node(CMAnimateWindows):
        hidden = types.SimpleNamespace(unique_id=None)

    from custom_nodes.comfy_motion.avatar.face_once import encode_face_once

    driving = driving_videos(FRAMES)
    model = encode_face_once(world.model)
    parts = generator(world, model, 1.0)
    positive, negative = ([[noise(1, 16, 4096, seed=s), {"pooled_output": None}]] for s in (1, 2))
    reference = noise(1, 40, 30, 3, seed=10).clamp(0, 1)
    network = world.model.get_model_object("diffusion_model")
    progress: list[tuple[int, int]] = []
    monkeypatch.setattr("comfy.utils.PROGRESS_BAR_HOOK", lambda value, total, *_, **__: progress.append((value, total)))
    with CountedCalls(network.face_encoder) as faces_encoded, CountedCalls(network.head) as evaluations:
        frames = Node.execute(
            model, positive, negative, world.vae, parts.clip_vision_output, reference, driving.pose, driving.face,
            parts.sampler, parts.sigmas, 11, 1.0, WIDTH, HEIGHT, LENGTH, OVERLAP, 1.0,
            driving.background, driving.masks,
        )[0]  # fmt: skip
    video = frames.read(0, frames.num_frames)
    assert (frames.num_frames, frames.width, frames.height, frames.fps) == (FRAMES, WIDTH, HEIGHT, driving.pose.fps)
    assert faces_encoded.count == 3
    assert evaluations.count == 3 * STEPS  # the negative side is not evaluated
    assert progress == sorted(progress)
    assert {total for _, total in progress} == {3 * (STEPS + 2)}
    assert progress[-1][0] == 3 * (STEPS + 2)

    conditioned = CMWanAnimateConditioning.execute(
        positive, negative, world.vae, WIDTH, HEIGHT, LENGTH, 1, OVERLAP, 0, parts.clip_vision_output, reference,
        to_float(driving.face.read(0, FRAMES)), to_float(driving.pose.read(0, FRAMES)),
        to_float(driving.background.read(0, FRAMES)), driving.masks.read(0, FRAMES).float(),
    ).args  # fmt: skip
    latent = conditioned[2]["samples"]
    samples = comfy.sample.sample_custom(
        model,
        comfy.sample.prepare_noise(latent, 11),
        1.0,
        parts.sampler,
        parts.sigmas,
        *conditioned[:2],
        latent,
        seed=11,
    )
    by_hand = world.vae.decode(samples[:, :, conditioned[3] :])[0]
    assert torch.equal(video[:LENGTH], to_uint8(by_hand))
    assert video[:LENGTH].float().std() > 5  # a picture, not one colour
    assert not torch.equal(video[0], video[1])


def test_a_window_is_given_what_the_one_before_made(world, monkeypatch):
    """The continued frames are the last ones kept, also when a window adds fewer than the overlap takes."""
    from custom_nodes.comfy_motion.avatar import animate
    from custom_nodes.comfy_motion.avatar.windows import plan_windows

    length, overlap, driving = 9, 5, driving_videos(15)
    windows = plan_windows(driving.num_frames, length, overlap)
    silent = types.SimpleNamespace(
        begin=lambda _: None, encoded=lambda: None, decoded=lambda: None, callback=lambda _: None
    )
    parts = generator(world, world.model, 1.0)
    parts.positive, parts.negative = ([[noise(1, 16, 4096, seed=s), {}]] for s in (1, 2))
    continued, seeds = [], []

    def sample(window, seed, callback):  # the noise itself: what is sampled is not the matter here
        seeds.append(seed)
        return noise(*window.latent.shape, seed=seed) * (1 + 0.2 * len(seeds))

    def run(color_match: float) -> list[torch.Tensor]:
        continued.clear()
        seeds.clear()
        plan = animate.Plan(WIDTH, HEIGHT, length, overlap, color_match)
        reference = noise(1, 8, 8, 3)
        return [new.clone() for _, new in animate.generate_windows(parts, reference, driving, plan, windows, silent)]

    real = animate.condition_window
    monkeypatch.setattr(parts, "sample", sample)
    monkeypatch.setattr(
        animate, "condition_window", lambda *a, **k: continued.append(a[4].continue_motion) or real(*a, **k)
    )
    made = run(1.0)
    assert [len(new) for new in made] == [9, 4, 2]
    assert seeds == [11, 12, 13]
    assert continued[0] is None
    assert torch.equal(continued[1], made[0][-overlap:])
    assert torch.equal(continued[2], torch.cat(made[:2])[-overlap:])
    unmatched = run(0.0)
    assert torch.equal(made[0], unmatched[0])
    assert not torch.equal(made[1], unmatched[1])


# ---------------------------------------------------------------------------------------------------------------
# The tiny files


def test_core_loads_every_tiny_file_and_leaves_no_tensor_over(world, caplog):
    import comfy.clip_vision
    import comfy.sd

    names, comfy_utils = world.names, world.comfy.utils
    with caplog.at_level(logging.WARNING):
        model = comfy.sd.load_diffusion_model(str(world.files[names.MODEL]))
        for lora in (names.STEP_LORA, names.RELIGHT_LORA):
            weights = comfy_utils.load_torch_file(str(world.files[lora]))
            patched, _ = comfy.sd.load_lora_for_models(model, None, weights, 1.0, 1.0)
            assert len(patched.patches) >= 5 * 12
        comfy.sd.VAE(sd=comfy_utils.load_torch_file(str(world.files[names.VAE]))).throw_exception_if_invalid()
        vision = comfy.clip_vision.load(str(world.files[names.CLIP_VISION]))
        clip = comfy.sd.load_clip([str(world.files[names.TEXT_ENCODER])], clip_type=comfy.sd.CLIPType.WAN)
    assert [record.getMessage() for record in caplog.records if "key" in record.getMessage().lower()] == []
    assert model.model.model_config.unet_config["model_type"] == "animate"
    assert vision.encode_image(torch.rand(1, 40, 60, 3)).penultimate_hidden_states.shape == (1, 257, 1280)
    one, other = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("一个人", "a person"))
    assert one[0][0].shape == (1, 512, 4096)
    assert not torch.equal(one[0][0], other[0][0])
