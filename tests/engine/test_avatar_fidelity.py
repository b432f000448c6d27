"""What Wan-Animate is fed and what it computes, against core, against the authors' rules, against diffusers.

Everything runs on the tiny random weights in float32 on the CPU: that proves numbers, not beauty.
"""

import itertools
import types

import pytest
import torch

from .comfy_import import import_comfyui

pytestmark = pytest.mark.engine

WIDTH, HEIGHT, LENGTH = 64, 48, 9
SWITCHES = ("mask_frame0_four_times", "overlap_stays_known", "mask_top_left", "ping_pong")
AS_CORE = dict.fromkeys(SWITCHES, False) | {"reference_fit": "crop"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """ComfyUI with the tiny weights loaded by core's own functions, and our nodes."""
    base = tmp_path_factory.mktemp("comfyui")
    import_comfyui(base)
    import comfy.sd
    import comfy.utils
    import folder_paths
    from comfy_extras.nodes_wan import WanAnimateToVideo

    from custom_nodes.comfy_motion.nodes import avatar, wan_animate
    from demo import tiny_wan

    models = base / "models"
    files = tiny_wan.write_tiny_wan(models, vae_width=2)
    vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(files[tiny_wan.VAE])), dtype=torch.float32)
    vae.throw_exception_if_invalid()
    model = comfy.sd.load_diffusion_model(str(files[tiny_wan.MODEL]), model_options={"dtype": torch.float32})
    return types.SimpleNamespace(
        models=models, files=files, vae=vae, model=model, core=WanAnimateToVideo, nodes=avatar, window=wan_animate,
        folder_paths=folder_paths,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def as_in_comfyui():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # six times less work than two threads, on pictures this small
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def mask_video(frames: int, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    """Different in every pixel of every frame, so that a wrong pixel or frame shows."""
    return (noise(frames, height, width, seed=9) > 0.5).float()


def prompts() -> tuple[list, list]:
    return [[noise(1, 16, 4096, seed=1), {"pooled_output": None}]], [
        [noise(1, 16, 4096, seed=2), {"pooled_output": None}]
    ]


def arguments(frames: int = 20, **changes) -> dict:
    positive, negative = prompts()
    given = {
        "positive": positive,
        "negative": negative,
        "width": WIDTH,
        "height": HEIGHT,
        "length": LENGTH,
        "batch_size": 1,
        "continue_motion_max_frames": 5,
        "video_frame_offset": 0,
        "reference_image": noise(1, 90, 50, 3, seed=3),
        "face_video": noise(frames, 64, 64, 3, seed=4),
        "pose_video": noise(frames, HEIGHT, WIDTH, 3, seed=5),
        "background_video": noise(frames, HEIGHT, WIDTH, 3, seed=6),
        "character_mask": mask_video(frames),
    }
    return given | changes


def conditioned(world, switches: dict, **given) -> dict:
    """All tensors and numbers that our node gives, by name."""
    return flat(world.window.CMWanAnimateConditioning.execute(vae=world.vae, **given, **switches).args)


def flat(output: tuple) -> dict:
    positive, negative, latent, *numbers = output
    result = {"latent": latent["samples"], "trim_latent": numbers[0], "trim_image": numbers[1], "offset": numbers[2]}
    for side, conditioning in (("positive", positive), ("negative", negative)):
        result |= {f"{side}.{key}": value for key, value in conditioning[0][1].items()} | {side: conditioning[0][0]}
    return result


def different(one: dict, other: dict) -> set[str]:
    """The names under which two sets of tensors and numbers are not equal."""

    def equal(a, b):
        return a.shape == b.shape and torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b

    both = one.keys() & other.keys()
    return (one.keys() ^ other.keys()) | {name for name in both if not equal(one[name], other[name])}


CONTINUED = {"continue_motion": noise(7, HEIGHT, WIDTH, 3, seed=7), "video_frame_offset": 9}
CASES = {
    "first window": {},
    "continued by 5": CONTINUED,
    "continued by 1": CONTINUED | {"continue_motion_max_frames": 1},
    "continued by 3": CONTINUED | {"continue_motion_max_frames": 3},
    "animate mode": {"background_video": None, "character_mask": None},
    "animate mode continued": CONTINUED | {"background_video": None, "character_mask": None},
    "mask without background": {"background_video": None},
    "one mask for all": CONTINUED | {"character_mask": mask_video(1)},
    "past the end": CONTINUED | {"video_frame_offset": 18},
    "all used up": CONTINUED | {"video_frame_offset": 60},
    "mask within the overlap": CONTINUED | {"character_mask": mask_video(8)},
    "other sizes": CONTINUED
    | {
        "pose_video": noise(20, 30, 70, 3),
        "background_video": noise(20, 64, 40, 3),
        "character_mask": mask_video(20, 100, 80),
        "face_video": noise(20, 512, 512, 3),
        "continue_motion": noise(7, 40, 90, 3),
    },
    "nothing but the prompt": dict.fromkeys(
        ("reference_image", "face_video", "pose_video", "background_video", "character_mask")
    ),
    "several references": {"reference_image": noise(5, 30, 40, 3), "batch_size": 2},
    "alpha": {"reference_image": noise(1, 60, 60, 4), "pose_video": noise(20, HEIGHT, WIDTH, 4)},
}


@pytest.mark.parametrize("case", CASES)
def test_with_the_differences_off_it_is_cores_node(world, case):
    given = arguments(**CASES[case])
    core = flat(world.core.execute(vae=world.vae, **given).args)
    assert different(conditioned(world, AS_CORE, **given), core) == set()
    if case != "nothing but the prompt":  # the test of the test: with them on it is another's
        assert different(conditioned(world, {}, **given), core) != set()


def expected_mask(mask, overlap: int, *, delay: bool, known: bool, top_left: bool) -> torch.Tensor:
    """The rules of the mask, pixel by pixel: concat_mask [1, 4, latents, rows, columns], 1 = generate."""
    result = torch.zeros((1, 4, 1 + (LENGTH + 3) // 4, HEIGHT // 8, WIDTH // 8))
    for latent, part, row, column in itertools.product(*map(range, ((LENGTH + 3) // 4, 4, HEIGHT // 8, WIDTH // 8))):
        entry = latent * 4 + part
        frame = max(0, entry - 3) if delay else entry
        at = (row * 8, column * 8) if top_left else (row * 8 + 4, column * 8 + 4)
        value = mask[frame, at[0], at[1]] if frame < LENGTH else 1
        given_entries = (overlap + 3) // 4 * 4 if known else overlap
        result[0, part, 1 + latent, row, column] = 0 if entry < given_entries else value
    return result


@pytest.mark.parametrize("on", [*SWITCHES[:3], "all of the mask"])
@pytest.mark.parametrize("case", ["first window", "continued by 5", "continued by 1"])
def test_each_rule_of_the_mask_changes_the_mask_as_it_says(world, on, case):
    given = arguments(**CASES[case])
    active = SWITCHES[:3] if on == "all of the mask" else (on,)
    core, ours = (conditioned(world, AS_CORE | s, **given) for s in ({}, dict.fromkeys(active, True)))
    overlap = given.get("continue_motion_max_frames", 0) if "continue_motion" in given else 0
    shown = given["character_mask"][given["video_frame_offset"] - overlap if overlap else 0 :]
    delay, known, top_left = (name in active for name in SWITCHES[:3])
    expected = expected_mask(shown, overlap, delay=delay, known=known, top_left=top_left)
    assert torch.equal(ours["positive.concat_mask"], expected)
    assert torch.equal(ours["negative.concat_mask"], expected)
    assert different(core, ours) <= {"positive.concat_mask", "negative.concat_mask"}


def test_the_authors_mask_in_their_own_terms(world):
    """Known = 1; the overlap's frames set to 1; frame 0 repeated four times; then grouped by four."""
    given = arguments(**CONTINUED)
    mask = given["character_mask"][4 : 4 + LENGTH]
    known = 1 - torch.nn.functional.interpolate(mask.unsqueeze(1), size=(HEIGHT // 8, WIDTH // 8), mode="nearest")[:, 0]
    known[:5] = 1
    entries = torch.cat([known[:1]] * 4 + [known[1:]])
    ours = conditioned(world, {}, **given)["positive.concat_mask"]
    assert torch.equal(1 - ours[0, :, 1:].transpose(0, 1).reshape(entries.shape), entries)
    assert torch.equal(1 - ours[0, :, :1], torch.ones_like(ours[0, :, :1]))  # the reference is known


def walked(video: torch.Tensor, frames: int) -> torch.Tensor:
    """The video made longer by walking over it frame by frame and turning round at its ends."""
    picked, at, step = [], 0, 1
    for _ in range(frames):
        picked.append(video[at])
        if not 0 <= at + step < len(video):
            step = -step
        at += step
    return torch.stack(picked)


@pytest.mark.parametrize("offset", [18, 60])
def test_past_the_end_the_video_turns_round(world, offset):
    """With the rule on, the result is core's for a video that was made longer beforehand."""
    given = arguments(**CONTINUED | {"video_frame_offset": offset})
    videos = ("face_video", "pose_video", "background_video", "character_mask")
    longer = given | {name: walked(given[name], offset + LENGTH) for name in videos}
    ours = conditioned(world, AS_CORE | {"ping_pong": True}, **given)
    assert different(ours, flat(world.core.execute(vae=world.vae, **longer).args)) == set()
    assert different(ours, conditioned(world, AS_CORE | {"ping_pong": True}, **longer)) == set()


def test_the_reference_is_letterboxed_and_nothing_else_changes(world):
    import cv2
    import numpy as np

    given = arguments()
    core, ours = (conditioned(world, AS_CORE | s, **given) for s in ({}, {"reference_fit": "letterbox"}))
    assert different(core, ours) == {"positive.concat_latent_image", "negative.concat_latent_image"}
    pixels = (given["reference_image"][0].numpy() * 255).round().astype(np.uint8)  # 90 high, 50 wide
    canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    canvas[:, 19 : 19 + 26] = cv2.resize(pixels, (26, 48), interpolation=cv2.INTER_AREA)  # 48 / 90 * 50 = 26.7
    encoded = world.vae.encode(torch.from_numpy(canvas)[None].float() / 255)
    assert torch.equal(ours["positive.concat_latent_image"][:, :, :1], encoded)
    assert torch.equal(ours["positive.concat_latent_image"][:, :, 1:], core["positive.concat_latent_image"][:, :, 1:])
