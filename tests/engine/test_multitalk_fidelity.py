"""Our loop on core's network against the published loop on diffusers', with the same random weights, in float32."""

import dataclasses
from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch

from custom_nodes.comfy_motion.talk.guidance import Guidance
from custom_nodes.comfy_motion.talk.schedule import talk_sigmas
from custom_nodes.comfy_motion.talk.speakers import left_and_right, one_speaker

from .comfy_import import import_comfyui
from .i2v_reference import vae as diffusers_vae
from .multitalk_loop_reference import MISTAKES, Loop, TalkingTransformer
from .svd_world import as_in_comfyui, relative_error  # noqa: F401
from .test_avatar_transformer import diffusers_weights

pytestmark = pytest.mark.engine

WIDTH, HEIGHT, FRAMES, MOTION, TOTAL = 64, 48, 9, 5, 12  # two windows, the second a frame past the end
STEPS, SHIFT, SEED = 3, 7.0, 42
CLOSE, FAR = 2e-5, 1e-2
CHAINED = 1e-3  # the second window after a first that is not quite the same: the VAE and CLIP's 8 bits enlarge that


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def multi(tmp_path_factory):
    """Core's parts of the tiny files in float32, and the reference's of the same."""
    base = tmp_path_factory.mktemp("comfyui")
    import_comfyui(base)
    import comfy.clip_vision
    import comfy.sd
    import comfy.utils
    import folder_paths
    from diffusers import WanTransformer3DModel
    from safetensors.torch import save_file

    from custom_nodes.comfy_motion.talk.load import load_multitalk
    from demo import tiny_multitalk, tiny_nodes, tiny_wan
    from demo import tiny_multitalk_shapes as sizes

    del tiny_nodes  # teaches core the small CLIP
    files = tiny_wan.write_tiny_wan(base / "models", [], vae_width=2)
    (base / "model_patches").mkdir()
    save_file(tiny_multitalk.half_weights(sizes.patch_shapes(), 3), base / "model_patches" / "multitalk.safetensors")
    folder_paths.add_model_folder_path("model_patches", str(base / "model_patches"), is_default=True)
    weights = tiny_wan.random_weights(sizes.i2v_shapes(), 4)
    patch = load_multitalk("multitalk.safetensors")
    patch.model.float()
    transformer = WanTransformer3DModel(
        num_attention_heads=sizes.DIM // 128,
        in_channels=36,
        ffn_dim=sizes.FFN,
        num_layers=sizes.LAYERS,
        image_dim=1280,
        added_kv_proj_dim=sizes.DIM,
    )
    transformer.load_state_dict(diffusers_weights(weights), strict=True)
    model = comfy.sd.load_diffusion_model_state_dict(dict(weights), model_options={"dtype": torch.float32})
    clip_vision = comfy.clip_vision.load(str(files[tiny_wan.CLIP_VISION]))
    clip_vision.model.float()
    return SimpleNamespace(
        model=model,
        patch=patch,
        vae=comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(files[tiny_wan.VAE])), dtype=torch.float32),
        clip_vision=clip_vision,
        network=TalkingTransformer(transformer.eval(), {k: v.float() for k, v in patch.model.state_dict().items()}),
        reference_vae=diffusers_vae(files[tiny_wan.VAE]),
    )


PICTURE = torch.rand((1, HEIGHT, WIDTH, 3), generator=torch.Generator().manual_seed(5))
TEXTS = noise(1, 512, 4096, seed=6), noise(1, 512, 4096, seed=7)


def features(voices: int) -> list[torch.Tensor]:
    return [noise(TOTAL, 12, 768, seed=8 + voice) for voice in range(voices)]


def clip_embedding(multi, image: torch.Tensor) -> torch.Tensor:
    """The whole picture squeezed to 224 pixels, bicubic; rounded to 8 bits as core does."""
    pixels = torch.nn.functional.interpolate(image.movedim(-1, 1), size=(224, 224), mode="bicubic").clamp(0, 1)
    pixels = (pixels * 255).round() / 255
    mean, std = (torch.tensor(n).view(3, 1, 1) for n in (multi.clip_vision.image_mean, multi.clip_vision.image_std))
    return multi.clip_vision.model(pixel_values=(pixels - mean) / std, intermediate_output=-2)[1]


def reference(multi, voices: int, infinite: bool, **changes) -> Loop:
    rows = None
    if voices == 2:
        # Left and right, 5..95 % of the height and of each half: what pixel 16 i, 16 j says.
        inside = [[[2 < 16 * i < 45 and low <= 16 * j < high for j in range(4)] for i in range(3)]
                  for low, high in ((1, 30), (33, 62))]  # fmt: skip
        masks = torch.tensor(inside).float().flatten(1)
        rows = torch.cat((masks, 1 - masks.amax(0, keepdim=True)))
    return Loop(
        multi.network, multi.reference_vae, lambda image: clip_embedding(multi, image), TEXTS, features(voices), rows,
        PICTURE, infinite, talk_sigmas(STEPS, SHIFT).tolist(), frames=FRAMES, motion=MOTION, seed=SEED, **changes,
    )  # fmt: skip


def ours(multi, monkeypatch, voices: int, **changes) -> tuple[list[torch.Tensor], object]:
    """(latents of each window, frames) of our loop. changes: of the plan."""
    import comfy.samplers

    from custom_nodes.comfy_motion.talk.loop import Models, Plan, Talk, talk
    from custom_nodes.comfy_motion.video.segments import SegmentWriter

    heard = features(voices)
    sound = SimpleNamespace(
        num_frames=TOTAL, num_voices=voices, layers=12, channels=768,
        read=lambda voice, start, stop: heard[voice][start:stop],
    )  # fmt: skip
    speakers = one_speaker(WIDTH, HEIGHT) if voices == 1 else left_and_right(WIDTH, HEIGHT)
    models = Models(
        multi.model, multi.patch, *([[text, {}]] for text in TEXTS), multi.vae, multi.clip_vision,
        comfy.samplers.sampler_object("euler"), talk_sigmas(STEPS, SHIFT),
    )  # fmt: skip
    plan = dataclasses.replace(Plan(FRAMES, MOTION, color_match=0.0, seed=SEED), **changes)
    made, decode = [], multi.vae.decode
    with monkeypatch.context() as patch:
        patch.setattr(multi.vae, "decode", lambda latents: made.append(latents.clone()) or decode(latents))
        frames = talk(Talk(models, PICTURE, sound, speakers, plan), SegmentWriter(WIDTH, HEIGHT, Fraction(25)), None)
    return made, frames


CASES = [
    ("multitalk", 1, 5.0),
    ("multitalk", 2, 5.0),
    ("multitalk", 2, 1.0),
    ("infinitetalk", 1, 5.0),
    ("infinitetalk", 2, 5.0),
]


def decoded(multi, latents: torch.Tensor) -> torch.Tensor:
    """[frames, h, w, 3] in 0..1, by core's VAE."""
    return multi.vae.decode(latents)[0]


@pytest.mark.parametrize(("loop", "voices", "text_scale"), CASES)
def test_each_window_is_the_published_loops(multi, monkeypatch, loop, voices, text_scale):
    """The second goes on from our own first, so that two VAEs between them do not blur the comparison."""
    made, frames = ours(multi, monkeypatch, voices, loop=loop, guidance=Guidance(text_scale, 4.0))
    published = reference(multi, voices, loop == "infinitetalk", text_scale=text_scale)
    first = decoded(multi, made[0])
    expected = [published.window(0, None, 2), published.window(1, first[-MOTION:], 2)]
    errors = [relative_error(*pair) for pair in zip(made, expected, strict=True)]
    print(
        f"\n{loop}, {voices} voices, T {text_scale:g}: latents of the windows off by {errors[0]:.1e}, {errors[1]:.1e}"
    )
    assert max(errors) < CLOSE
    shown = torch.cat((first, decoded(multi, made[1])[MOTION:]))[:TOTAL] * 255
    assert frames.num_frames == TOTAL
    assert (frames.read(0, TOTAL) - shown).abs().max() < 0.51


@pytest.mark.parametrize("loop", MISTAKES)
def test_both_windows_by_themselves_and_every_mistake(multi, monkeypatch, loop):
    made, _ = ours(multi, monkeypatch, 1, loop=loop)
    right = reference(multi, 1, loop == "infinitetalk")
    error = relative_error(made[1], right.latents(2)[1])
    tail = decoded(multi, made[0])[-MOTION:]
    wrong = {
        mistake: relative_error(dataclasses.replace(right, wrong=mistake).window(1, tail, 2), made[1])
        for mistake in MISTAKES[loop]
    }
    print(f"\n{loop}: off by {error:.1e}; " + ", ".join(f"{name} {value:.1e}" for name, value in wrong.items()))
    assert error < CHAINED
    assert min(wrong.values()) > FAR


@pytest.mark.parametrize("loop", MISTAKES)
def test_guidance_batched_is_guidance_one_by_one(multi, monkeypatch, loop):
    """Core puts into one batch what fits into memory."""
    sizes = []
    network = multi.model.model.diffusion_model
    handle = network.register_forward_pre_hook(lambda _module, given: sizes.append(len(given[0])))
    try:
        batched, _ = ours(multi, monkeypatch, 2, loop=loop)
        assert set(sizes) == {3}
        sizes.clear()
        monkeypatch.setattr(multi.model.model, "memory_required", lambda *_, **__: 1e30)
        alone, _ = ours(multi, monkeypatch, 2, loop=loop)
        assert set(sizes) == {1}
    finally:
        handle.remove()
    errors = [relative_error(*pair) for pair in zip(batched, alone, strict=True)]
    print(f"\n{loop}: batched against one by one {errors[0]:.1e}, {errors[1]:.1e}")
    assert errors[0] < CLOSE
    assert errors[1] < CHAINED
