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
import sys
import time
from pathlib import Path
from typing import Any

from bench.one_job import run_job
from bench.true_weights import ensure
from bench.watch import gpu_name
from demo.sample import ASSETS, write_driving
from demo.tiny import TINY_NODES, tiny_models
from worker.engine import Engine
from worker.find_comfyui import find_comfyui
from worker.operations.avatar import Avatar
from worker.settings import Settings


def make_models(folder: Path, comfyui: Path) -> Path:
    """The models folder: true sizes, and the tiny detectors and encoded prompts beside them."""
    models, tiny = folder / "models", tiny_models(folder / "tiny")
    ensure(models, comfyui, ["avatar"])
    for name in ("detection", "text_encoders", "encoded_prompts"):
        if not (models / name).exists():
            (models / name).symlink_to((tiny / name).absolute())
    return models


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Make what is missing, start ComfyUI, run twice."""
    began = time.monotonic()
    models = make_models(args.folder, find_comfyui(Settings(comfyui_path=args.comfyui)).path)
    made = time.monotonic() - began
    args.folder.mkdir(parents=True, exist_ok=True)
    driving = args.video or args.folder / "driving.mp4"
    if args.video is None:
        write_driving(driving, args.frames)
    job_input = {
        "input_image_minio_path": "person.png",
        "driving_video_path": "driving.mp4",
        "width": args.width,
        "height": args.height,
        "steps": args.steps,
        "end_time": args.frames / 24,
    }
    files = {"picture": ASSETS / "person.png", "driving": driving}
    settings = Settings(work_path=args.folder / "work", model_path=models, comfyui_path=args.comfyui)
    engine = Engine(settings, node_packs=(TINY_NODES,))
    began = time.monotonic()
    await engine.start()
    try:
        await engine.wait_ready(300)
        ready = time.monotonic() - began
        runs = {name: await run_job(engine, Avatar(), job_input, files) for name in ("cold", "warm")}
    except BaseException:
        print("\n".join(engine.last_lines(60)), file=sys.stderr)
        raise
    finally:
        await engine.stop()
    sizes = {"width": args.width, "height": args.height, "frames": args.frames, "steps": args.steps}
    return {**sizes, "gpu": gpu_name(), "weights_made_s": round(made, 1), "comfyui_ready_s": round(ready, 1), **runs}


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
