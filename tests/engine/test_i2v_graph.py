"""The i2v graphs on the real ComfyUI: what comes out, and that nothing of them is left to ComfyUI's defaults."""

from fractions import Fraction

import av
import numpy as np
import pytest

from worker.graph import load_graph

from .i2v_world import FRAMES, SIZE, WORKFLOWS, by_title, run, small, start_image, with_frames

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

GRAPHS = ("i2v", "i2v_turbo")
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


@pytest.mark.parametrize("name", GRAPHS)
async def test_the_last_frame_is_the_one_before_compression(engine, name):
    prompt = with_frames(small(name, start_image(engine), f"last-{name}"), "Decode video")
    ran = await run(engine, prompt)
    assert ran.frames.shape == (FRAMES, SIZE, SIZE, 3)
    assert np.array_equal(ran.last_frame, ran.frames[-1])
    assert not np.array_equal(ran.last_frame, ran.frames[-2])
    with av.open(str(ran.files["Save MP4"][0])) as video:
        rate = video.streams.video[0].average_rate
        shown = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert (len(shown), rate) == (FRAMES, Fraction(16))
    # The MP4's last frame is the same moment with half the colours: near, and of no use to go on from.
    assert not np.array_equal(shown[-1], ran.last_frame)
    distances = [np.abs(shown[-1] - frame.astype(float)).mean() for frame in ran.frames]
    assert int(np.argmin(distances)) == FRAMES - 1


async def test_guidance_one_leaves_the_negative_prompt_out(engine):
    """The turbo graph's guidance: half the evaluations, so its negative prompt has no say. The other graph's has."""
    image = start_image(engine)
    for name in GRAPHS:
        first, second = [
            await run(engine, small(name, image, f"negative-{name}", changes={"Negative prompt": {"text": text}}))
            for text in ("blurry", "static")
        ]
        assert np.array_equal(first.last_frame, second.last_frame) is (name == "i2v_turbo")


@pytest.mark.parametrize("name", GRAPHS)
async def test_every_setting_is_pinned(engine, name):
    """What a graph leaves open, ComfyUI's editor fills in, with defaults that may be others in its next version."""
    async with engine.client() as client:
        known = await client.object_info()
    for title, node in by_title(load_graph(WORKFLOWS / f"{name}.json").nodes).items():
        inputs = known[node["class_type"]]["input"]
        every = {**inputs.get("required", {}), **inputs.get("optional", {})}
        settings = {key for key, kind in every.items() if isinstance(kind[0], list) or kind[0] in WIDGETS}
        assert (title, settings - node["inputs"].keys()) == (title, set())
        assert (title, node["inputs"].keys() - every.keys()) == (title, set())
