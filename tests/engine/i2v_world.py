"""What the tests of the i2v graphs share: the pinned graph made small, run on the real engine, and read back."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from worker.engine import Engine
from worker.graph import load_graph
from worker.operations.scenes import unroll

from .observing import observe, run_order

WORKFLOWS = Path(__file__).parents[2] / "workflows"
SIZE, FRAMES, SEED = 64, 5, 7
PROMPTS, NEGATIVE = ("the person waves", "the person turns round"), "blurry"

Changes = Mapping[str, Mapping[str, Any]]
"""{title: {input: value}}"""


def by_title(prompt: Mapping[str, Any]) -> dict[str, Any]:
    """{title: node}; the nodes are the prompt's own, so that changing them changes it."""
    return {node["_meta"]["title"]: node for node in prompt.values()}


def changed(prompt: dict[str, Any], changes: Changes) -> dict[str, Any]:
    """The prompt with inputs set by title, in place. Only what is pinned can be set."""
    nodes = by_title(prompt)
    for title, inputs in changes.items():
        unknown = inputs.keys() - nodes[title]["inputs"].keys()
        assert not unknown, f"{title} has no {unknown}"
        nodes[title]["inputs"].update(inputs)
    return prompt


def small(
    name: str, image: str, keep: str, steps: int = 2, changes: Changes | None = None, scenes: int = 1
) -> dict[str, Any]:
    """The pinned graph at 64x64 and 5 frames a scene. `image`: below the input folder."""
    prompt = unroll(load_graph(WORKFLOWS / f"{name}.json"), scenes).bind({})
    changed(
        prompt,
        {
            "Start image": {"image": image},
            "Negative prompt": {"text": NEGATIVE},
            "Steps": {"steps": steps},
            "Save MP4": {"filename_prefix": f"i2v/{keep}", "crf": 1.0},
            "Save last frame": {"filename_prefix": f"i2v/{keep}-last"},
        },
    )
    for number in range(1, scenes + 1):
        scene = "" if number == 1 else f" (scene {number})"
        changed(
            prompt,
            {
                f"Prompt{scene}": {"text": PROMPTS[number - 1]},
                f"Noise{scene}": {"noise_seed": SEED + number - 1},
                f"Image to video{scene}": {"width": SIZE, "height": SIZE, "length": FRAMES},
                f"Keep segment{scene}": {"name": keep},
            },
        )
    return changed(prompt, changes or {})


def start_image(engine: Engine, name: str = "start.png", shift: int = 0) -> str:
    """Puts a 64x64 picture into the input folder: waves and noise, moved `shift` pixels to the right. Its name."""
    pixels = np.random.default_rng(5).integers(0, 60, (SIZE, SIZE, 3))
    wave = 90 * (1 + np.sin(np.arange(SIZE) / 5)[None, :, None] * np.cos(np.arange(SIZE) / 9)[:, None, None])
    picture = np.roll((pixels + wave).astype(np.uint8), shift, axis=1)
    Image.fromarray(picture).save(engine.input_dir / name)
    return name


@dataclass(frozen=True)
class Ran:
    """One prompt that is over. `nodes`: the titles of the nodes that ran, in order. `files`: {title: its files}."""

    nodes: list[str]
    files: dict[str, list[Path]]
    from_cache: list[str]
    """Titles of nodes that ComfyUI still knew the results of."""

    @property
    def last_frame(self) -> np.ndarray:
        """uint8 [h, w, 3] of the PNG."""
        return _pixels(self.files["Save last frame"][0])

    @property
    def frames(self) -> np.ndarray:
        """uint8 [n, h, w, 3] of what `with_frames` added."""
        return np.stack([_pixels(path) for path in self.files["Save frames"]])


async def run(engine: Engine, prompt: dict[str, Any]) -> Ran:
    """Submits the prompt, waits for its end and asserts that it ended well."""
    seen = await observe(engine.base_url, prompt)
    assert seen["answer"][0] == 200, json.dumps(seen["answer"])[:3000]
    (history,) = seen["history"][1].values()
    assert history["status"]["status_str"] == "success", json.dumps(history["status"])[:3000]
    files = {}
    for node_id, kinds in history["outputs"].items():
        listed = [item for kind in kinds.values() if isinstance(kind, list) for item in kind if isinstance(item, dict)]
        files[title_of(prompt, node_id)] = [
            engine.output_dir / item["subfolder"] / item["filename"] for item in listed if "filename" in item
        ]
    cached = [
        node
        for message in seen["messages"]
        if message["type"] == "execution_cached"
        for node in message["data"]["nodes"]
    ]
    nodes = [title_of(prompt, node_id) for node_id in run_order(seen["messages"])]
    return Ran(nodes, files, [title_of(prompt, node_id) for node_id in cached])


def title_of(prompt: Mapping[str, Any], node_id: str) -> str:
    return prompt[node_id]["_meta"]["title"]


def _pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def id_of(prompt: Mapping[str, Any], title: str) -> str:
    return next(node_id for node_id in prompt if title_of(prompt, node_id) == title)


def with_latents(prompt: dict[str, Any]) -> dict[str, Any]:
    """The prompt with core's Save Latent on the last sampler, in place."""
    return _with(prompt, "SaveLatent", "Save latents", samples=[id_of(prompt, "Low-noise steps"), 0])


def with_frames(prompt: dict[str, Any], source: str | None = None) -> dict[str, Any]:
    """The prompt with every frame also saved as PNG, in place: those of node `source`, or those that the MP4 has."""
    frames = [id_of(prompt, source), 0] if source else by_title(prompt)["Save MP4"]["inputs"]["frames"]
    prompt["images"] = {
        "class_type": "CMFramesToImages",
        "_meta": {"title": "Frames to images"},
        "inputs": {"frames": frames, "start": 0, "count": 0},
    }
    return _with(prompt, "SaveImage", "Save frames", images=["images", 0])


def _with(prompt: dict[str, Any], class_type: str, title: str, **inputs: Any) -> dict[str, Any]:
    """The prompt with one more output node."""
    name = title.lower().replace(" ", "-")
    inputs["filename_prefix"] = f"i2v/{name}"
    prompt[name] = {"class_type": class_type, "_meta": {"title": title}, "inputs": inputs}
    return prompt


def latents(ran: Ran) -> torch.Tensor:
    """[1, 16, t, h/8, w/8] that Save Latent wrote."""
    return load_file(ran.files["Save latents"][0])["latent_tensor"]


def relative_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    return ((value - expected).norm() / expected.norm()).item()


async def forget_results(engine: Engine) -> None:
    """Empties ComfyUI's own memory of results; what Keep Frames has on disk stays."""
    # It does so between two prompts, in a thread of its own; asked as a prompt ends, that thread may sleep through it.
    for _ in range(2):
        async with engine.client() as client:
            await client.free_memory()
        await asyncio.sleep(0.5)


def kept_folder(engine: Engine, keep: str) -> Path:
    """Where Keep Frames puts what it keeps under that name."""
    return engine.base_directory / "user" / "comfy_motion" / "kept" / keep
