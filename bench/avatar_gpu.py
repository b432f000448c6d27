"""Seconds a stage and peak memory of the avatar graph on a GPU: real ComfyUI, weights of the true size.

    python -m bench.avatar_gpu FOLDER [--frames 77] [--width 1280] [--height 720] [--steps 6] [--json FILE]

FOLDER (about 45 GB) gets the weights, random where nothing was downloaded: Wan-Animate 14B, LoRAs, VAE, CLIP vision
and SAM2 large are of the true shapes; the two ONNX detectors are the tiny ones, and the prompt comes from disk, as
in production. The graph is workflows/avatar.json as it is. It runs twice on two driving videos: cold (weights from
the disk's cache onto the GPU) and warm.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import psutil
import torch

from bench.true_weights import shapes_of
from custom_nodes.comfy_motion.segment.layouts import PATCHES, detect_config
from demo.sample import ASSETS, write_driving
from demo.tiny import TINY_NODES, tiny_models
from demo.tiny_sam2 import make_oval, random_weights
from worker.engine import Engine
from worker.events import Finished, NodeProgress
from worker.find_comfyui import find_comfyui
from worker.operations.avatar import Avatar, AvatarRequest
from worker.settings import Settings
from worker.tracking import Track


class Peak:
    """The largest GPU and process memory seen while it is open, in GiB; looks four times a second."""

    def __init__(self, pid: int):
        self._process, self._over = psutil.Process(pid), threading.Event()
        self.gpu = self.rss = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.25):
            self.rss = max(self.rss, self._process.memory_info().rss / 2**30)
            self.gpu = max(self.gpu, gpu_memory_gib())


def gpu_memory_gib() -> float:
    """GPU memory in use now; 0 without nvidia-smi."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0.0
    asked = [program, "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return float(subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()[0]) / 1024


def make_models(folder: Path, comfyui: Path) -> Path:
    """The models folder: true sizes over the tiny ones."""
    models = tiny_models(folder / "models")
    stamp = models / "true_size.txt"
    if not stamp.exists():
        # In a process of its own: ComfyUI's modules, asked for the shapes, would take the GPU for ours.
        paths = os.pathsep.join([str(comfyui), os.getcwd(), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "bench.true_weights", str(models)]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=True)
        stamp.touch()
    sam2 = models / "sam2" / "sam2.1_hiera_large.safetensors"
    if sam2.with_suffix(".json").exists():  # the tiny one's configuration
        write_sam2(sam2)
    return models


def write_sam2(path: Path) -> None:
    """SAM2.1 hiera large with random weights that show an oval, in place of the tiny one (see demo/tiny_sam2.py)."""
    from safetensors.torch import save_file
    from transformers import Sam2VideoConfig, Sam2VideoModel

    # The tensors by which a file is known for hiera large of version 2.1: 144 wide, 48 blocks.
    marks = {
        PATCHES: (144, 3, 7, 7),
        "vision_encoder.backbone.blocks.47.layer_norm1.weight": (1152,),
        "temporal_positional_encoding_projection_layer.weight": (64, 256),
        "occlusion_spatial_embedding_parameter": (1, 64),
    }
    config = Sam2VideoConfig.from_dict(detect_config(marks) or {})
    shapes = shapes_of(lambda: Sam2VideoModel(config))
    weights = random_weights({name: torch.Size(shape) for name, shape in shapes.items()})
    make_oval(weights)
    save_file(weights, path)
    path.with_suffix(".json").unlink()


async def run_once(engine: Engine, request: AvatarRequest, driving: Path) -> dict[str, Any]:
    """One prompt: seconds by node, seconds a sampling step, peaks."""
    operation, prompt_id = Avatar(), str(uuid.uuid4())
    inputs = engine.input_dir / prompt_id
    inputs.mkdir(parents=True)
    shutil.copy(ASSETS / "person.png", inputs / "person.png")
    shutil.copy(driving, inputs / "driving.mp4")
    files = {"picture": f"{prompt_id}/person.png", "driving": f"{prompt_id}/driving.mp4"}
    bound = operation.bind(request, files, prompt_id)
    track, steps = Track({}, lambda update: None), []
    began, deadline = time.monotonic(), time.monotonic() + 1500
    assert engine.process_id is not None
    with Peak(engine.process_id) as peak:
        async with engine.client() as client:
            await client.submit(bound.prompt, prompt_id, deadline)
            async for event in client.follow(prompt_id, deadline):
                track.hear(event, operation.graph.title_of)
                if isinstance(event, NodeProgress) and track.last_node == "Animate in windows":
                    steps.append((round(time.monotonic() - began, 2), event.value, event.maximum))
                if isinstance(event, Finished):
                    output = engine.path_of(event.outputs[0])
    return {
        "seconds": round(time.monotonic() - began, 2),
        "nodes": track.timings()["nodes"],
        "animate_progress": steps,
        "peak_gpu_gib": round(peak.gpu, 1),
        "peak_rss_gib": round(peak.rss, 1),
        "mp4_bytes": output.stat().st_size,
    }


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Make what is missing, start ComfyUI, run twice."""
    began = time.monotonic()
    models = make_models(args.folder, find_comfyui(Settings(comfyui_path=args.comfyui)).path)
    made = time.monotonic() - began
    args.folder.mkdir(parents=True, exist_ok=True)
    driving = args.video or args.folder / "driving.mp4"
    if args.video is None:
        write_driving(driving, args.frames)
    request = AvatarRequest(
        input_image_minio_path="x",
        driving_video_path="x",
        width=args.width,
        height=args.height,
        steps=args.steps,
        end_time=args.frames / 24,
    )
    settings = Settings(work_path=args.folder / "work", model_path=models, comfyui_path=args.comfyui)
    engine = Engine(settings, node_packs=(TINY_NODES,))
    began = time.monotonic()
    await engine.start()
    try:
        await engine.wait_ready(300)
        ready = time.monotonic() - began
        runs = {name: await run_once(engine, request, driving) for name in ("cold", "warm")}
    except BaseException:
        print("\n".join(engine.last_lines(60)), file=sys.stderr)
        raise
    finally:
        await engine.stop()
    sizes = {"width": args.width, "height": args.height, "frames": args.frames, "steps": args.steps}
    return {**sizes, "gpu": gpu_name(), "weights_made_s": round(made, 1), "comfyui_ready_s": round(ready, 1), **runs}


def gpu_name() -> str:
    """Name and driver, or "none"."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "none"
    asked = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=77)
    parser.add_argument("--video", type=Path, help="a driving video of 24 fps; default: the project's drawn one")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI tree; default: as the worker finds it")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    args = parser.parse_args()
    found = asyncio.run(measure(args))
    text = json.dumps(found, indent=1)
    if args.json:
        args.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
