# ruff: noqa: F811  (pytest finds a fixture by the name of an argument)
"""MimicMotion's nodes against diffusers with the same random weights: whole runs, in one tile and in several."""

import dataclasses
from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch

from . import mimicmotion_reference as reference
from .svd_world import as_in_comfyui, relative_error, world  # noqa: F401

pytestmark = pytest.mark.engine

ONE_TILE, TILES = 16, 40
WIDTH, HEIGHT = 64, 64
# Three steps: with two, the one from sigma 700 to 0.002 takes numbers of 700 from one another, 5e-5 of rounding.
STEPS, GUIDANCE, STRENGTH, SEED = 3, (1.2, 2.0), 0.3, 21
TILE, OVERLAP = 16, 6
CLOSE, FAR = 1e-4, 1e-3


@pytest.fixture(scope="module")
def mimic(world, tmp_path_factory):
    """Our loader's model and PoseNet, and diffusers' network with the same file."""
    from diffusers import UNetSpatioTemporalConditionModel

    from custom_nodes.comfy_motion.mimicmotion.load import load_mimicmotion
    from demo import tiny_svd_shapes as sizes
    from demo.tiny_mimicmotion import write_tiny_mimicmotion

    path = write_tiny_mimicmotion(tmp_path_factory.mktemp("mimicmotion"), sizes.SVD_LEVELS)
    model, pose_net = load_mimicmotion(path)
    weights = torch.load(path, weights_only=True)
    widths = tuple(sizes.UNET_WIDTH * mult for mult in sizes.UNET_MULT)
    heads = tuple(width // 64 for width in widths)
    unet = UNetSpatioTemporalConditionModel(
        block_out_channels=widths, num_attention_heads=heads, cross_attention_dim=sizes.CONTEXT
    )
    parts = {
        part: {name.removeprefix(part): value for name, value in weights.items() if name.startswith(part)}
        for part in ("unet.", "pose_net.")
    }
    unet.load_state_dict(parts["unet."], strict=True)

    def clip(pixels):
        return world.clip_vision.model(pixel_values=pixels, intermediate_output=-2)[2]

    models = reference.Reference(unet.eval(), world.reference_vae, parts["pose_net."], clip)
    return SimpleNamespace(model=model, pose_net=pose_net, path=path, reference=models)


def pixels(count: int, seed: int) -> torch.Tensor:
    """uint8 [count, HEIGHT, WIDTH, 3], different everywhere."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, HEIGHT, WIDTH, 3), generator=generator, dtype=torch.uint8)


def wanted(frames: int, **changes) -> reference.Wanted:
    made = reference.Wanted(pixels(1, 1)[0], pixels(frames, 2), STEPS, GUIDANCE, STRENGTH, SEED, TILE, OVERLAP)
    return dataclasses.replace(made, **changes)


class Caught(Exception):
    """Carries the latents that were to be decoded."""


def dance(world, mimic, want: reference.Wanted, **changes):
    """What the node CMMimicMotion makes: lazy frames. changes: of the plan."""
    from custom_nodes.comfy_motion.mimicmotion import chunked
    from custom_nodes.comfy_motion.mimicmotion.sample import Settings
    from custom_nodes.comfy_motion.video.frames import TensorFrames

    settings = Settings(want.steps, *want.guidance, want.tile, want.overlap)
    plan = chunked.Plan(settings, want.seed, want.strength, **{"num_frames": len(want.poses)} | changes)
    models = chunked.Models(mimic.model, mimic.pose_net, world.clip_vision, world.vae)
    poses = [TensorFrames(part, Fraction(15)) for part in want.poses.split([1, len(want.poses) - 1])]
    run = chunked.Dance(models, want.picture[None].float() / 255, *poses, plan)
    return chunked.dance(run, None, None, None)


def ours(world, mimic, monkeypatch, want: reference.Wanted) -> torch.Tensor:
    """The latents that the node hands to the VAE, of one chunk."""
    from custom_nodes.comfy_motion.mimicmotion import chunked

    def caught(_vae, samples, *_):
        raise Caught(samples["samples"])

    monkeypatch.setattr(chunked, "decode", caught)
    with pytest.raises(Caught) as found:
        dance(world, mimic, want)
    return found.value.args[0]


@pytest.fixture(scope="module")
def expected(mimic) -> dict[int, torch.Tensor]:
    """The reference's latents by number of frames."""
    with torch.inference_mode():
        return {frames: reference.latents(mimic.reference, wanted(frames)) for frames in (ONE_TILE, TILES)}


@pytest.mark.parametrize("frames", [ONE_TILE, TILES])
def test_a_whole_run_is_the_references(world, mimic, monkeypatch, expected, frames):
    error = relative_error(ours(world, mimic, monkeypatch, wanted(frames)), expected[frames])
    print(f"\nrelative L2 of the latents of {frames} frames: {error:.1e}")
    assert error < CLOSE


def test_cores_own_norms_are_found_out(world, mimic, monkeypatch, expected):
    """The published weights were trained with diffusers' 1e-6; at these sizes the difference shows."""
    norms = [m for m in mimic.model.model.diffusion_model.modules() if isinstance(m, torch.nn.GroupNorm)]
    for norm in norms:
        monkeypatch.setattr(norm, "eps", max(norm.eps, 1e-5))
    error = relative_error(ours(world, mimic, monkeypatch, wanted(ONE_TILE)), expected[ONE_TILE])
    print(f"\ncore's norms: {error:.1e}")
    assert error > CLOSE


def wrong_places(add) -> dict:
    """What could be done in place of `add`, our input block patch, by what is wrong with it."""

    def both_halves(features, options):
        return add(features, options | {"cond_or_uncond": [0] * len(options["cond_or_uncond"])})

    def after_the_first_block(features, options):
        """Core's layer 1 is the first residual block; layer 0 is conv_in."""
        moved = {("input", 0): ("input", -1), ("input", 1): ("input", 0)}
        return add(features, options | {"block": moved.get(options["block"], options["block"])})

    def not_in_the_skip(features, options):
        return add(features.clone(), options)

    def nowhere(features, _options):
        return features

    return {made.__name__: made for made in (both_halves, after_the_first_block, not_in_the_skip, nowhere)}


@pytest.mark.parametrize("place", ["both_halves", "after_the_first_block", "not_in_the_skip", "nowhere"])
def test_poses_elsewhere_are_found_out(world, mimic, monkeypatch, expected, place):
    from comfy.model_patcher import ModelPatcher

    from custom_nodes.comfy_motion.mimicmotion import sample

    monkeypatch.setattr(sample, "add_poses", wrong_places(sample.add_poses)[place])
    if place == "not_in_the_skip":
        late = ModelPatcher.set_model_input_block_patch_after_skip
        monkeypatch.setattr(ModelPatcher, "set_model_input_block_patch", late)
    error = relative_error(ours(world, mimic, monkeypatch, wanted(ONE_TILE)), expected[ONE_TILE])
    print(f"\nposes {place}: {error:.1e}")
    assert error > FAR


def test_tiles_without_weights_are_found_out(world, mimic, monkeypatch, expected):
    from custom_nodes.comfy_motion.mimicmotion import tiles

    monkeypatch.setattr(tiles, "tile_weights", torch.ones)
    error = relative_error(ours(world, mimic, monkeypatch, wanted(TILES)), expected[TILES])
    print(f"\ntiles without weights: {error:.1e}")
    assert error > FAR


def test_noise_augmentation_forgotten_is_found_out(world, mimic, monkeypatch, expected):
    """The model is told of the noise, and the picture has none."""
    from custom_nodes.comfy_motion.mimicmotion import chunked

    right = chunked.picture_latent
    monkeypatch.setattr(chunked, "picture_latent", lambda vae, picture, noise, _: right(vae, picture, noise, 0.0))
    error = relative_error(ours(world, mimic, monkeypatch, wanted(ONE_TILE)), expected[ONE_TILE])
    print(f"\nnoise forgotten: {error:.1e}")
    assert error > FAR


@pytest.mark.parametrize("change", [{"guidance": (3.0, 3.0)}, {"seed": 22}, {"overlap": 5}, {"strength": 0.2}])
def test_other_numbers_are_found_out(world, mimic, monkeypatch, expected, change):
    frames = TILES if "overlap" in change else ONE_TILE
    assert relative_error(ours(world, mimic, monkeypatch, wanted(frames, **change)), expected[frames]) > FAR


def test_the_pictures_are_the_references(world, mimic, expected):
    """Decoded in chunks of 8 that begin with the reference, which is then dropped."""
    right = reference.frames(mimic.reference, expected[ONE_TILE]).int()
    made = dance(world, mimic, wanted(ONE_TILE))
    assert (made.num_frames, made.fps) == (ONE_TILE - 1, 15)
    assert (made.read(0, made.num_frames).int() - right).abs().max() <= 1
    otherwise = dance(world, mimic, wanted(ONE_TILE), decode_chunk=5).read(0, ONE_TILE - 1)
    assert (otherwise.int() - right).abs().max() > 1


def test_every_pose_goes_through_posenet_once(world, mimic):
    """Two chunks of two tiles each, two steps: the reference's pose and the driving ones once, shared ones too."""
    seen: list[int] = []
    handle = mimic.pose_net.register_forward_hook(lambda _net, given, _made: seen.append(len(given[0])))
    try:
        want = wanted(41, tile=14, overlap=4)
        made = dance(world, mimic, want, num_frames=25)
    finally:
        handle.remove()
    assert made.num_frames == 40
    assert sum(seen) == 41


def test_guidance_of_one_evaluates_one_half(world, mimic, monkeypatch):
    """Where the published pipeline fails."""
    import comfy.samplers

    halves: list[int] = []
    real = comfy.samplers.calc_cond_batch
    monkeypatch.setattr(
        comfy.samplers,
        "calc_cond_batch",
        lambda model, conds, *rest: halves.append(len(conds)) or real(model, conds, *rest),
    )
    ours(world, mimic, monkeypatch, wanted(5, guidance=(1.0, 1.0)))
    assert halves == [1] * STEPS
    ours(world, mimic, monkeypatch, wanted(5, guidance=(1.0, 2.0)))
    assert halves == [1] * STEPS + [2] * STEPS


def test_clips_picture_is_diffusers(world):
    from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing

    from custom_nodes.comfy_motion.mimicmotion.conditioning import clip_pixels

    for height, width in ((1024, 576), (224, 700), (100, 60)):
        picture = torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(8))
        right = (_resize_with_antialiasing(picture * 2 - 1, (224, 224)) + 1) / 2
        assert torch.allclose(clip_pixels(picture), right, atol=1e-5), (height, width)
