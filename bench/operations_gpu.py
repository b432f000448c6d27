"""Seconds a stage and peak memory of i2v, animate and segment on a GPU: real ComfyUI, random weights of the true size.

    python -m bench.operations_gpu FOLDER CASE ... [--json FILE]      cases: i2v_turbo i2v_40 animate segment

FOLDER (about 49 GB for all) gets the weights: names, types and shapes of the published files (see bench/shapes.py).
The pinned graphs run as the worker binds them, under the worker's own flags; fetching and delivering are left out.
"cold" is the first job after ComfyUI forgot everything: weights come from the disk's cache. "warm" is the next one,
with another prompt and seed. `--tiny` runs the same on the demo's tiny weights and short videos: a rehearsal
on a CPU that measures nothing.
"""

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench.floor import table as floors
from bench.one_job import forget_everything, run_job
from bench.true_weights import ensure
from bench.watch import gpu_name
from demo.sample import ASSETS
from demo.tiny import TINY_NODES, tiny_models
from worker.engine import Engine
from worker.find_comfyui import find_comfyui
from worker.operations.animate import Animate
from worker.operations.base import Operation
from worker.operations.i2v import I2V
from worker.operations.segment import Segment
from worker.settings import Settings

OPERATIONS: dict[str, type[Operation]] = {"i2v": I2V, "animate": Animate, "segment": Segment}
STAGES = {
    "text encoder and prompts": ("Text encoder", "Prompt", "Negative prompt"),
    "picture into the latent (VAE, CLIP vision)": ("Image to video", "Noise augmentation"),
    "sampling": ("High-noise steps", "Low-noise steps", "Sampler"),
    "decode and keep on disk": ("Decode video",),
    "segment": ("Segment image",),
    "write (MP4, last frame, masks)": ("Composite", "Keep segment", "Save MP4", "Save last frame", "Save masks"),
}
"""What the table adds up, by the nodes' titles; all other nodes are "the rest"."""
PROMPT = "A person turns to the camera and smiles while leaves fall, the camera moves in slowly, run {}"
BOXES = [[40, 40, 300, 500], [300, 60, 620, 640], [100, 300, 420, 700], [20, 20, 700, 700], [350, 350, 640, 690]]


@dataclass(frozen=True)
class Job:
    """One run of a case: its name, the request's fields, and whether ComfyUI forgets everything before it."""

    name: str
    request: dict[str, Any]
    cold: bool = False
    masked: bool = False


@dataclass(frozen=True)
class Case:
    """Jobs of one operation, and what --tiny changes in their requests."""

    operation: str
    jobs: tuple[Job, ...]
    tiny: dict[str, Any] = field(default_factory=dict)


def _i2v(number: int, **changes: Any) -> dict[str, Any]:
    return {"prompt": PROMPT.format(number), "seed": number, **changes}


SMALL = {"width": 64, "height": 64, "num_frames": 5}
CASES = {
    "i2v_turbo": Case(
        "i2v",
        (Job("cold", _i2v(1, turbo=True), cold=True), Job("warm", _i2v(2, turbo=True))),
        SMALL,
    ),
    "i2v_40": Case("i2v", (Job("cold", _i2v(3), cold=True),), SMALL),
    "animate": Case(
        "animate",
        (Job("cold", {"seed": 1}, cold=True), Job("warm", {"seed": 2}), Job("with mask", {"seed": 3}, masked=True)),
        {"num_frames": 2, "num_inference_steps": 2},
    ),
    "segment": Case(
        "segment",
        (
            Job("1 box, cold", {"bboxes": BOXES[:1]}, cold=True),
            *(Job(f"{n} box{'es' * (n > 1)}, warm {k}", {"bboxes": BOXES[:n]}) for k in (1, 2, 3) for n in (1, 5)),
        ),
    ),
}


def make_files(folder: Path) -> dict[str, Path]:
    """The drawn person of the demo, 720x720, and a mask of its middle."""
    folder.mkdir(parents=True, exist_ok=True)
    picture, mask = folder / "picture.png", folder / "mask.png"
    image = Image.open(ASSETS / "person.png").convert("RGB").resize((720, 720))
    image.save(picture)
    white = np.zeros((720, 720, 3), np.uint8)
    white[160:560, 160:560] = 255
    Image.fromarray(white).save(mask)
    return {"picture": picture, "mask": mask}


def request_of(case: Case, job: Job, tiny: bool) -> dict[str, Any]:
    """What a caller would send."""
    request = {"image_minio_path": "picture.png", **job.request, **(case.tiny if tiny else {})}
    if tiny and case.operation == "i2v" and not job.request.get("turbo"):
        request["num_inference_steps"] = 4
    return request | ({"mask_minio_path": "mask.png"} if job.masked else {})


async def run_case(engine: Engine, case: Case, files: Mapping[str, Path], tiny: bool) -> dict[str, Any]:
    """Every job of a case, one after the other."""
    operation, found = OPERATIONS[case.operation](), {}
    for job in case.jobs:
        if job.cold:
            await forget_everything(engine)
        request = request_of(case, job, tiny)
        roles = operation.wanted(operation.parse(request, engine.settings))
        given = {role: files["mask" if "mask" in role else "picture"] for role in roles}
        found[job.name] = await run_job(engine, operation, request, given)
        print(f"{case.operation} {job.name}: {found[job.name]['seconds']} s", file=sys.stderr, flush=True)
    return found


def lines_of(name: str, job: str, found: Mapping[str, Any]) -> list[str]:
    """The table of one job."""
    nodes, lines = dict(found["nodes"]), [f"\n{name}, {job}: {found['seconds']:.2f} s"]
    for stage, titles in STAGES.items():
        if here := [title for title in titles if title in nodes]:
            lines.append(f"  {stage:44}{sum(nodes.pop(title) for title in here):9.2f} s")
        for title in titles:
            if stage == "sampling" and (steps := found["steps"].get(title)):
                text = f"{steps['steps']} x {steps['s_per_step']:.2f} s"
                lines.append(f"      {title:40}{found['nodes'][title]:9.2f} s    {text}")
    lines.append(f"  {'the rest':44}{sum(nodes.values()):9.2f} s")
    memory = {key: found[f"peak_{key}_gib"] for key in ("gpu", "rss", "private")}
    lines.append("  peak: GPU {gpu} GiB, process {rss} GiB, {private} GiB of it not mapped files".format(**memory))
    return [*lines, f"  MP4: {found['mp4']}"] if "mp4" in found else lines


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Make what is missing, start ComfyUI, run the cases."""
    began = time.monotonic()
    comfyui = find_comfyui(Settings(comfyui_path=args.comfyui)).path
    models = args.folder / ("tiny" if args.tiny else "models")
    if args.tiny:
        tiny_models(models)
    else:
        ensure(models, comfyui, dict.fromkeys(CASES[name].operation for name in args.cases))
    found: dict[str, Any] = {"gpu": gpu_name(), "torch": torch.__version__}
    found["weights_made_s"] = round(time.monotonic() - began, 1)
    settings = Settings(work_path=args.folder / "work", model_path=models, comfyui_path=args.comfyui)
    engine = Engine(settings, node_packs=(TINY_NODES,) if args.tiny else ())
    files, began = make_files(args.folder / "input"), time.monotonic()
    await engine.start()
    try:
        await engine.wait_ready(300)
        found["comfyui_ready_s"] = round(time.monotonic() - began, 1)
        for name in args.cases:
            found[name] = await run_case(engine, CASES[name], files, args.tiny)
            save(args.json, found)
    except BaseException:
        print("\n".join(engine.last_lines(80)), file=sys.stderr)
        raise
    finally:
        if args.log and engine.log_path:
            shutil.copy(engine.log_path, args.log)
        await engine.stop()
    return found


def save(path: Path | None, found: Mapping[str, Any]) -> None:
    if path:
        path.write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("cases", nargs="+", choices=list(CASES), metavar="CASE")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal with the demo's tiny weights")
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI tree; default: as the worker finds it")
    parser.add_argument("--json", type=Path, help="write the figures here, too, after every case")
    parser.add_argument("--log", type=Path, help="put ComfyUI's log here")
    args = parser.parse_args()
    found = asyncio.run(measure(args))
    save(args.json, found)
    print(f"{found['gpu']}; weights made in {found['weights_made_s']} s, ComfyUI ready in {found['comfyui_ready_s']} s")
    for name in args.cases:
        for job, figures in found[name].items():
            print("\n".join(lines_of(name, job, figures)))
    print("\n" + floors())


if __name__ == "__main__":
    main()
