"""A dance in chunks on the real ComfyUI: its length, and a run that goes on where ComfyUI was killed."""

import os
import shutil
import signal
import time
import uuid
from contextlib import aclosing

import numpy as np
import pytest
from PIL import Image

from worker.errors import JobError
from worker.events import Text

from .i2v_world import forget_results, kept_folder, run

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

SIZE, POSES, NUM_FRAMES, CROSSFADE, STEPS = 64, 34, 17, 4, 1
CHUNKS = 3  # frames 0..15, 12..27, 18..33 (six of these only to be 16)


def node(class_type: str, title: str, **inputs) -> dict:
    return {"class_type": class_type, "_meta": {"title": title}, "inputs": inputs}


def graph(engine, keep: str, poses: int = POSES, **changes) -> dict:
    """The nodes around MimicMotion, with noise for a person and for drawn poses."""
    names = [f"dance/{number}.png" for number in range(poses + 1)]
    (engine.input_dir / "dance").mkdir(exist_ok=True)
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(engine.input_dir / name)
    prompt = {
        "image": node("LoadImage", "Image", image=names[0]),
        "pose0": node("LoadImage", "Pose 1", image=names[1]),
        "frames": node("CMImagesToFrames", "Drawn poses", images=[f"batch{poses - 1}", 0], fps=15.0),
        "first": node("CMImagesToFrames", "Drawn reference", images=["pose0", 0], fps=15.0),
        "svd": node("ImageOnlyCheckpointLoader", "SVD model", ckpt_name="svd_xt.safetensors"),
        "weights": node("CMLoadMimicMotion", "MimicMotion model", weights="MimicMotion_1-1.pth"),
    }
    before = ["pose0", 0]
    for number in range(1, poses):
        prompt[f"pose{number}"] = node("LoadImage", f"Pose {number + 1}", image=names[number + 1])
        prompt[f"batch{number}"] = node("ImageBatch", f"Batch {number}", image1=before, image2=[f"pose{number}", 0])
        before = [f"batch{number}", 0]
    settings = {
        "steps": STEPS, "min_guidance": 2.0, "max_guidance": 2.0, "noise_aug_strength": 0.0, "seed": 42,
        "num_frames": NUM_FRAMES, "tile": 72, "frames_overlap": 6, "crossfade": CROSSFADE, "name": keep,
    }  # fmt: skip
    links = {"model": ["weights", 0], "pose_net": ["weights", 1], "clip_vision": ["svd", 1], "vae": ["svd", 2]}
    links |= {"reference": ["image", 0], "reference_pose": ["first", 0], "pose": ["frames", 0]}
    prompt["dance"] = node("CMMimicMotion", "MimicMotion", **links, **settings | changes)
    prompt["images"] = node("CMFramesToImages", "Frames to images", frames=["dance", 0], start=0, count=0)
    prompt["save"] = node("SaveImage", "Save frames", images=["images", 0], filename_prefix=f"dance/{keep}")
    return prompt


def chunks(engine, keep: str) -> dict[str, int]:
    """{kept chunk: when it was written}."""
    folder = kept_folder(engine, keep)
    kept = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.exists() else []
    return {path.name: (path / "clip.json").stat().st_mtime_ns for path in kept}


async def killed_in(engine, prompt: dict, window: str) -> str:
    """Runs the prompt until it says `window`, then kills ComfyUI. What the run ended with."""
    prompt_id = str(uuid.uuid4())
    async with engine.client() as client:
        await client.submit(prompt, prompt_id)
        try:
            async with aclosing(client.follow(prompt_id, time.monotonic() + 120)) as events:
                async for event in events:
                    if isinstance(event, Text) and event.text == window:
                        os.kill(engine.process_id, signal.SIGKILL)
        except JobError as error:
            return error.code
    return "finished"


async def test_a_run_goes_on_after_comfyui_was_killed(engine):
    """Chunks that were finished are the same files afterwards; the frames are those of a run nothing came between."""
    prompt = graph(engine, "killed-dance")
    assert await killed_in(engine, prompt, f"window {CHUNKS} of {CHUNKS}") == "engine_crashed"
    finished = chunks(engine, "killed-dance")
    assert len(finished) == CHUNKS - 1
    await engine.wait_ready(180)
    again = await run(engine, graph(engine, "killed-dance"))
    assert again.from_cache == []
    assert finished.items() < chunks(engine, "killed-dance").items()
    assert len(chunks(engine, "killed-dance")) == CHUNKS
    whole = await run(engine, graph(engine, "whole-dance"))
    assert "MimicMotion" in whole.nodes
    assert np.array_equal(again.frames, whole.frames)
    assert len(whole.frames) == POSES


async def test_other_settings_share_no_chunk_and_another_end_shares_the_beginning(engine):
    """A shorter dance has the chunks that do not reach its end; another seed has none."""
    before = chunks(engine, "whole-dance")
    await forget_results(engine)
    await run(engine, graph(engine, "whole-dance", poses=31))
    shorter = chunks(engine, "whole-dance")
    assert len(shorter) == len(before) + 1
    await run(engine, graph(engine, "whole-dance", poses=31, seed=43))
    assert len(chunks(engine, "whole-dance")) == len(shorter) + CHUNKS
    assert before.items() < shorter.items()


async def test_a_chunk_that_was_removed_is_made_again(engine):
    """ComfyUI remembers the node's result, which is files that are gone."""
    first = await run(engine, graph(engine, "removed-dance", poses=17))
    shutil.rmtree(kept_folder(engine, "removed-dance"))
    second = await run(engine, graph(engine, "removed-dance", poses=17))
    assert "MimicMotion" in second.nodes
    assert np.array_equal(first.frames, second.frames)
