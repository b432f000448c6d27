"""workflows/animate.json on the real ComfyUI: lengths, sizes, masks, chunks, and refusals before anything is made."""

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from worker.graph import load_graph

from .i2v_world import by_title, changed, forget_results, id_of, run, title_of, with_frames
from .observing import observe, run_order

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

GRAPH = load_graph(Path(__file__).parents[2] / "workflows" / "animate.json")
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
FRAMES, SEED = 3, 4
LANDSCAPE, PORTRAIT = (128, 72), (72, 128)


def picture(engine, width: int, height: int) -> str:
    """Waves and noise in the input folder; its name."""
    noise = np.random.default_rng(2).integers(0, 60, (height, width, 3))
    wave = 90 * (1 + np.sin(np.arange(width) / 9)[None, :, None] * np.cos(np.arange(height) / 7)[:, None, None])
    name = f"animate-{width}x{height}.png"
    Image.fromarray((noise + wave).astype(np.uint8)).save(engine.input_dir / name)
    return name


def mask(engine, name: str, width: int, height: int, box: tuple[int, int, int, int] | None) -> str:
    """A mask in the input folder, white in the box (left, top, right, bottom); its name."""
    levels = np.zeros((height, width), np.uint8)
    if box:
        levels[box[1] : box[3], box[0] : box[2]] = 255
    Image.fromarray(levels).save(engine.input_dir / f"animate-{name}.png")
    return f"animate-{name}.png"


def pixels(engine, name: str) -> np.ndarray:
    return np.array(Image.open(engine.input_dir / name))


def animate(image: str, size: tuple[int, int], mask: str | None = None, changes: dict | None = None) -> dict[str, Any]:
    """The pinned graph, small: `size` is what SVD makes, (width, height)."""
    sides = dict(zip(("width", "height"), size, strict=True))
    values = {
        "Image": {"image": image},
        "Image to video": {**sides, "video_frames": FRAMES},
        "Noise augmentation": {**sides, "seed": SEED},
        "Sampler": {"steps": 2, "seed": SEED},
        "Composite": {"feather": 4, "frame_width": size[0], "frame_height": size[1]},
        "Save MP4": {"filename_prefix": "animate/small", "crf": 1.0},
    }
    graph = GRAPH if mask else GRAPH.without_link(("Composite", "CMCompositeMotion"), "mask")
    if mask:
        values["Mask"] = {"image": mask}
    return changed(changed(graph.bind({}), values), changes or {})


async def frames_of(engine, prompt: dict[str, Any], source: str | None = None) -> np.ndarray:
    return (await run(engine, with_frames(prompt, source))).frames


@pytest.mark.parametrize("size", [LANDSCAPE, PORTRAIT])
async def test_without_a_mask_the_video_is_svds_own(engine, size):
    image = picture(engine, 160, 120)
    ran = await run(engine, with_frames(animate(image, size)))
    assert ran.frames.shape == (FRAMES, size[1], size[0], 3)
    assert all(np.abs(a.astype(int) - b).mean() > 5 for a, b in pairwise(ran.frames))
    with av.open(str(ran.files["Save MP4"][0])) as video:
        stream = video.streams.video[0]
        shown = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert (len(shown), stream.average_rate, (stream.width, stream.height)) == (FRAMES, Fraction(6), size)
    for number, frame in enumerate(shown):
        distances = [np.abs(frame - made.astype(float)).mean() for made in ran.frames]
        assert int(np.argmin(distances)) == number


async def test_the_seeds_make_the_video(engine):
    """In a ComfyUI that has forgotten all: the same again. The numbers have their tests in test_animate_unet.py."""
    image, one_step = picture(engine, 160, 120), {"Sampler": {"steps": 1}}
    first = await frames_of(engine, animate(image, LANDSCAPE, changes=one_step))
    await forget_results(engine)
    assert np.array_equal(await frames_of(engine, animate(image, LANDSCAPE, changes=one_step)), first)
    for other in ({"Noise augmentation": {"seed": SEED + 1}}, {"Sampler": {"seed": SEED + 1}}):
        made = await frames_of(engine, changed(animate(image, LANDSCAPE, changes=one_step), other))
        assert not np.array_equal(made, first), other


@pytest.mark.parametrize(("width", "height", "size"), [(161, 120, LANDSCAPE), (120, 160, PORTRAIT)])
async def test_with_a_mask_black_stands_still_and_white_moves(engine, width, height, size):
    image = picture(engine, width, height)
    box = (20, 30, 100, 90)
    prompt = animate(image, size, mask(engine, "box", width, height, box))
    frames = await frames_of(engine, prompt)
    still = pixels(engine, image)[:, : width - width % 2]
    assert frames.shape == (FRAMES, *still.shape)
    white = np.zeros(still.shape[:2], bool)
    white[box[1] : box[3], box[0] : box[2]] = True
    assert np.array_equal(frames[:, ~white], np.broadcast_to(still[~white], frames[:, ~white].shape))
    inner = frames[:, box[1] + 4 : box[3] - 4, box[0] + 4 : box[2] - 4].astype(int)
    assert np.abs(inner[0] - inner[1]).mean() > 5


async def test_another_size_scales_the_result(engine):
    image = picture(engine, 160, 120)
    prompt = animate(image, LANDSCAPE, mask(engine, "box", 160, 120, (20, 30, 100, 90)))
    frames = await frames_of(engine, changed(prompt, {"Composite": {"width": 80, "height": 60}}))
    assert frames.shape == (FRAMES, 60, 80, 3)
    assert np.array_equal(frames[0, :15], frames[1, :15])
    assert not np.array_equal(frames[0, 20:40, 20:40], frames[1, 20:40, 20:40])


async def test_decoding_in_one_piece_is_cores_and_chunks_work(engine):
    """Core's pictures go through our rounding to 8 bit too; two frames and one do not see their neighbours."""
    image = picture(engine, 160, 120)
    prompt = animate(image, LANDSCAPE)
    latent = [id_of(prompt, "Sampler"), 0]
    core = animate(image, LANDSCAPE)
    vae = by_title(core)["Decode video"]["inputs"]["vae"]
    core["core"] = {"class_type": "VAEDecode", "_meta": {"title": "Core"}, "inputs": {"samples": latent, "vae": vae}}
    core[id_of(core, "Decode video")] = {
        "class_type": "CMImagesToFrames",
        "_meta": {"title": "Decode video"},
        "inputs": {"images": ["core", 0], "fps": 6.0},
    }
    whole, cores, chunks = [
        await frames_of(engine, graph, "Decode video")
        for graph in (prompt, core, animate(image, LANDSCAPE, changes={"Decode video": {"chunk": 2}}))
    ]
    assert np.array_equal(whole, cores)
    assert chunks.shape == whole.shape
    assert not np.array_equal(chunks[1], whole[1])


@pytest.mark.parametrize(
    ("drawn", "code", "said"),
    [
        ((160, 120, None), "empty_mask", "black everywhere"),
        ((160, 100, (10, 10, 50, 50)), "mask_mismatch", "160x100 pixels and the image 160x120"),
        ((160, 120, (0, 0, 160, 10)), "empty_mask", "160x90 of 160x120"),
    ],
)
async def test_a_wrong_mask_is_refused_before_a_model_is_loaded(engine, drawn, code, said):
    await forget_results(engine)
    prompt = animate(picture(engine, 160, 120), LANDSCAPE, mask(engine, "wrong", *drawn))
    seen = await observe(engine.base_url, prompt)
    (history,) = seen["history"][1].values()
    assert history["status"]["status_str"] == "error"
    failure = next(data for kind, data in history["status"]["messages"] if kind == "execution_error")
    assert failure["exception_message"].startswith(f"[{code}]"), json.dumps(failure)
    assert said in failure["exception_message"]
    ran = {title_of(prompt, node) for node in run_order(seen["messages"]) if node in prompt}
    assert ran <= {"Image", "Mask", "Composite"}, ran


async def test_every_setting_is_pinned(engine):
    """What a graph leaves open, ComfyUI's editor fills in, with defaults that may be others in its next version."""
    async with engine.client() as client:
        known = await client.object_info()
    for title, node in by_title(GRAPH.nodes).items():
        inputs = known[node["class_type"]]["input"]
        every = {**inputs.get("required", {}), **inputs.get("optional", {})}
        settings = {key for key, kind in every.items() if isinstance(kind[0], list) or kind[0] in WIDGETS}
        assert (title, settings - node["inputs"].keys()) == (title, set())
        assert (title, node["inputs"].keys() - every.keys()) == (title, set())
