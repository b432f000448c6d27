"""Scenes that go on from one another, and a run of them that goes on where it was interrupted."""

import os
import shutil
import signal
import time
import uuid
from contextlib import aclosing

import numpy as np
import pytest

from worker.errors import JobError
from worker.events import NodeStarted

from .i2v_world import FRAMES, PROMPTS, SEED, forget_results, id_of, kept_folder, run, small, start_image, with_frames

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

FIRST_SCENE = {"Image to video", "High-noise guider", "High-noise steps", "Low-noise steps", "Decode video"}
STEPS = 40  # long enough to be interrupted in the middle of, on a busy machine, too


async def test_a_scene_is_what_a_run_from_the_last_frame_makes(engine):
    """Bit for bit, and the frame that both scenes show is there once."""
    uncoloured = {"Match colour (scene 2)": {"strength": 0.0}}
    first = await run(engine, with_frames(small("i2v", start_image(engine), "scene-1")))
    shutil.copy(first.files["Save last frame"][0], engine.input_dir / "second.png")
    own = {"Prompt": {"text": PROMPTS[1]}, "Noise": {"noise_seed": SEED + 1}}
    second = await run(engine, with_frames(small("i2v", "second.png", "scene-2", changes=own)))
    both = await run(engine, with_frames(small("i2v", "start.png", "scenes", changes=uncoloured, scenes=2)))
    assert len(both.frames) == 2 * FRAMES - 1
    assert np.array_equal(both.frames, np.concatenate((first.frames, second.frames[1:])))
    assert np.array_equal(both.last_frame, second.last_frame)
    assert not np.array_equal(second.frames, first.frames)


async def test_the_second_scene_takes_the_colours_of_the_frame_it_starts_from(engine):
    """Its first frame, which is dropped at the joint, is the frame that both are measured on."""
    first = await run(engine, small("i2v", start_image(engine), "colours-1"))
    distance = {}
    for strength in (0.0, 1.0):
        changes = {"Match colour (scene 2)": {"strength": strength}}
        prompt = small("i2v", "start.png", "colours-2", changes=changes, scenes=2)
        second = (await run(engine, with_frames(prompt, "Keep segment (scene 2)"))).frames
        distance[strength] = np.abs(second[0].mean((0, 1)) - first.last_frame.mean((0, 1))).max()
    print(f"\nchannel means off by {distance[0.0]:.1f} of 255, matched by {distance[1.0]:.1f}")
    assert distance[1.0] < 0.5 * distance[0.0]


def two_scenes(engine, keep: str, upload: str) -> dict:
    """A job of two scenes; each attempt has its picture uploaded anew, under another name."""
    (engine.input_dir / upload).mkdir(exist_ok=True)
    return with_frames(small("i2v", start_image(engine, f"{upload}/start.png"), keep, STEPS, scenes=2))


async def interrupted(engine, prompt: dict, how) -> str:
    """Runs the prompt until its second scene is being sampled, then `how(client, prompt_id)`. What it ended with."""
    prompt_id, sampler = str(uuid.uuid4()), id_of(prompt, "High-noise steps (scene 2)")
    async with engine.client() as client:
        await client.submit(prompt, prompt_id)
        try:
            async with aclosing(client.follow(prompt_id, time.monotonic() + 120)) as events:
                async for event in events:
                    if event == NodeStarted(sampler):
                        await how(client, prompt_id)
        except JobError as error:
            return error.code
    return "finished"


async def cancel(client, prompt_id: str) -> None:
    assert await client.cancel(prompt_id)


@pytest.fixture(scope="module")
def uninterrupted():
    """Filled by the first test that needs it: the frames of a run that nothing came between."""
    return {}


async def goes_on(engine, keep: str, uninterrupted: dict) -> None:
    """The second attempt makes the second scene only, and the video is that of a run nothing came between."""
    assert len(clips(engine, keep)) == 1
    again = await run(engine, two_scenes(engine, keep, f"{keep}-2"))
    assert again.from_cache == []
    assert FIRST_SCENE.isdisjoint(again.nodes)
    assert {f"{title} (scene 2)" for title in FIRST_SCENE} <= set(again.nodes)
    assert len(clips(engine, keep)) == 2
    if not uninterrupted:
        await forget_results(engine)
        whole = await run(engine, two_scenes(engine, "whole", "whole"))
        assert set(whole.nodes) >= FIRST_SCENE
        uninterrupted["frames"] = whole.frames
    assert np.array_equal(again.frames, uninterrupted["frames"])
    assert len(again.frames) == 2 * FRAMES - 1


def clips(engine, keep: str) -> list[str]:
    """The clips that are kept whole under that name."""
    return sorted(path.name for path in kept_folder(engine, keep).iterdir() if not path.name.startswith("."))


async def test_a_cancelled_run_goes_on_from_its_finished_scene(engine, uninterrupted):
    code = await interrupted(engine, two_scenes(engine, "cut", "cut-1"), cancel)
    assert code == "cancelled"
    await forget_results(engine)
    await goes_on(engine, "cut", uninterrupted)


async def test_a_run_goes_on_after_comfyui_was_killed(engine, uninterrupted):
    async def kill(_client, _prompt_id) -> None:
        os.kill(engine.process_id, signal.SIGKILL)

    code = await interrupted(engine, two_scenes(engine, "killed", "killed-1"), kill)
    assert code == "engine_crashed"
    await engine.wait_ready(180)
    await goes_on(engine, "killed", uninterrupted)
