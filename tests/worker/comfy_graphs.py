"""What the tests of the ComfyUI client share: a less patient client, two graphs, and running one to its end."""

import asyncio
import json
import time
import uuid
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from demo.standin.server import StandIn
from demo.standin.testcard import Card, write_test_card
from worker.comfyui import ComfyClient
from worker.errors import JobError

AVATAR = Path(__file__).parents[2] / "workflows" / "avatar.json"


class QuickClient(ComfyClient):
    """The same client, less patient."""

    POLL_SECONDS = 0.2
    ANSWER_SECONDS = 0.5
    CANCEL_SECONDS = 1.5
    LAST_WORD_SECONDS = 1.0


def small_graph() -> dict:
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0},
            "_meta": {"title": "Blank"},
        },
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": "job/still"},
            "_meta": {"title": "Save still"},
        },
    }


def avatar_graph(standin: StandIn, frames: int = 30) -> dict:
    card = Card(64, 48, Fraction(24), frames, sound=True)
    write_test_card(standin.folders.input / "driving.mp4", card)
    Image.new("RGB", (64, 64)).save(standin.folders.input / "person.png")
    return json.loads(AVATAR.read_text(encoding="utf-8"))


async def run(client: ComfyClient, graph: dict, seconds: float = 20.0, prompt_id: str | None = None) -> list:
    """Every event of a job."""
    prompt_id, deadline = prompt_id or str(uuid.uuid4()), time.monotonic() + seconds
    await client.submit(graph, prompt_id, deadline)
    return [event async for event in client.follow(prompt_id, deadline)]


async def fails(client: ComfyClient, graph: dict, seconds: float = 20.0) -> JobError:
    with pytest.raises(JobError) as caught:
        await run(client, graph, seconds)
    return caught.value


async def until(condition, seconds: float = 5.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come about")
