"""The face encoder that runs once, a whole run in three windows, and core on the tiny files."""

import logging
import types

import pytest
import torch

from .avatar_world import (  # noqa: F401
    FRAMES,
    HEIGHT,
    LENGTH,
    OVERLAP,
    STEPS,
    WIDTH,
    as_in_comfyui,
    faces,
    noise,
    world,
)

pytestmark = pytest.mark.engine


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
    from custom_nodes.comfy_motion.clips.windows import plan_windows

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
