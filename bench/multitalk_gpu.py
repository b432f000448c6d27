"""MultiTalk on a GPU: one evaluation with one and with two speakers, ours and core's, and the stages of a whole job.

    python -m bench.multitalk_gpu FOLDER [--parts speed stages] [--json FILE] [--logs FOLDER]

Real ComfyUI under the worker's own flags, random weights of the true size and format in FOLDER (30 GB, made on the
GPU), 81 frames at 832x480. Needs this repository, ComfyUI and no network.

speed: the outputs are compared with the slow formula, then every way runs 7 evaluations, of which the last 5 count;
core's can have only one row in a batch (bench/gpu_nodes/multitalk.py). Aim: ours with two speakers takes at most 1.08
times as long as with one, else the exit code is 1. stages: two voices of one window each, together, once with full
guidance in 2 steps and once with the turbo graph in 4. The detectors are the demo's.
`--tiny` rehearses it all on a CPU with the demo's weights, 13 frames, and measures nothing.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from bench.graphs import prompt_of, run, running
from bench.multitalk_jobs import SmallMultiTalk, make_files, request_of, see_people
from bench.one_job import run_job
from bench.true_weights import TALK_PATCH, WAN21_I2V, ensure
from bench.watch import gpu_name
from demo.tiny import tiny_models
from worker.engine import Engine
from worker.find_comfyui import find_comfyui
from worker.operations.multitalk import MultiTalk
from worker.settings import Settings

WIDTH, HEIGHT, FRAMES = 832, 480, 81
TINY_SIDE, TINY_FRAMES = 64, 13
AIM = 1.08
"""A two-speaker evaluation by a one-speaker one."""
AGREE = 0.01
"""Relative L2 of what the worst block hears, up to which ours is the slow formula in half precision."""
AGREE_MAP = 0.2
"""The same of the first map's differences from its mean, small with random weights; for other masks it is above 1."""
SPEAKERS = ("one speaker", "two speakers")
STAGES = {
    "picture": ("Picture", "Fit picture"),
    "who speaks": ("Pose models", "Who speaks", "Draw speakers", "Save speakers preview"),
    "prepare voices": ("Voice 1", "Voice 2", "Prepare voices"),
    "wav2vec2, with loading": ("Audio encoder", "Encode voices"),
    "text encoder and prompts, with loading": ("Text encoder", "Prompt", "Negative prompt"),
    "open the other models": ("Wan model", "LoRA", "MultiTalk model", "VAE", "CLIP vision", "Schedule", "Sampler"),
    "talk": ("Talk",),
    "save": ("Retime", "Save MP4"),
}
"""What the table adds up, by the nodes' titles."""
JOBS = {
    "full guidance, 2 steps": {"sampling_steps": 2, "guidance_scale": 5.0, "audio_guidance_scale": 4.0, "seed": 1},
    "turbo, 4 steps": {"turbo": True, "sampling_steps": 4, "seed": 2},
}


def make_models(folder: Path, comfyui: Path, tiny: bool) -> Path:
    """The models folder, its detectors seeing somebody in either half; what is there already stays as it is."""
    models = folder / ("tiny" if tiny else "models")
    if tiny:
        tiny_models(models)
    else:
        ensure(models, comfyui, ["multitalk"])
    see_people(models)
    return models


async def speed(engine: Engine, args: argparse.Namespace) -> dict[str, Any]:
    """One evaluation, every way."""
    size = (TINY_SIDE, TINY_SIDE, TINY_FRAMES) if args.tiny else (WIDTH, HEIGHT, FRAMES)
    path = engine.output_dir / "speed.json"
    told = {"model": ["model", 0], "model_patch": ["patch", 0], "path": path.name, "timed": args.timed}
    told |= dict(zip(("width", "height", "frames"), size, strict=True))
    nodes = {
        "model": ("UNETLoader", "Wan model", {"unet_name": Path(WAN21_I2V).name, "weight_dtype": "default"}),
        "patch": ("CMLoadMultiTalk", "MultiTalk model", {"name": Path(TALK_PATCH).name}),
        "end": ("CMBenchTalk", "Evaluations", told),
    }
    whole = await run(engine, prompt_of(nodes))
    return json.loads(path.read_text()) | {"all of it": whole}


async def stages(engine: Engine, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every stage of each job; within "Talk" as bench/gpu_nodes/talk_stages.py sees them."""
    frames, operation = (TINY_FRAMES, SmallMultiTalk(TINY_SIDE)) if args.tiny else (FRAMES, MultiTalk())
    files, found = make_files(args.folder / "input", frames, (WIDTH, HEIGHT)), {}
    path = engine.output_dir / "stages.jsonl"
    await run(engine, prompt_of({"begin": ("CMBenchStages", "Begin", {"path": path.name})}))
    for name, changes in JOBS.items():
        path.write_text("")
        job = await run_job(engine, operation, request_of(frames, **changes), files)
        found[name] = job | {"talk": [json.loads(line) for line in path.read_text().splitlines()]}
        print(f"{name}: {job['seconds']} s", file=sys.stderr, flush=True)
    return found


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Makes what is missing and runs the parts."""
    began = time.monotonic()
    args.folder.mkdir(parents=True, exist_ok=True)
    models = make_models(args.folder, find_comfyui(Settings(comfyui_path=args.comfyui)).path, args.tiny)
    found: dict[str, Any] = {"gpu": gpu_name(), "weights_made_s": round(time.monotonic() - began, 1)}
    began = time.monotonic()
    async with running(args, models, "multitalk") as engine:
        found["comfyui_ready_s"] = round(time.monotonic() - began, 1)
        for name, part in {"speed": speed, "stages": stages}.items():
            if name in args.parts:
                found[name] = await part(engine, args)
                if args.json:
                    args.json.write_text(json.dumps(found, indent=1) + "\n")
    return found


def ratio(speed: dict[str, Any], whose: str) -> float:
    """Seconds with two speakers by seconds with one."""
    one, two = (speed[f"{whose}, {number}"]["median_s"] for number in SPEAKERS)
    return two / one


def agrees(speed: dict[str, Any]) -> bool:
    """Whether ours is the slow formula, and it matters whose voice it is. NaN agrees with nothing."""
    apart = speed["relative L2 from ours, two speakers"]
    most = min(AGREE, apart["voices swapped"] / 5)
    told = [speed[f"slow formula against ours, {number}"] for number in SPEAKERS]
    near = all(one["finite"] and one["relative L2"] <= most for one in told)
    return near and told[1]["relative L2 of the first map"] <= AGREE_MAP and told[1]["positions"] <= 1e-2


def speed_lines(speed: dict[str, Any]) -> list[str]:
    lines = [f"torch {speed['torch']}, CUDA {speed['cuda']}, cuDNN {speed['cudnn']}; computed in {speed['type']}"]
    for name in [name for name in speed if name.startswith(("slow", "relative"))]:
        told = ", ".join(f"{key} {value:.3g}" for key, value in speed[name].items())
        lines.append(f"  {name}: {told}")
    for whose in ("ours", "core"):
        for number in SPEAKERS:
            way = speed[f"{whose}, {number}"]
            lines.append(f"  {whose}, {number}: {way['median_s']:.3f} s an evaluation {json.dumps(way)}")
        lines.append(f"  {whose}, two by one: {ratio(speed, whose):.3f}")
    for name in [name for name in speed if name.startswith("attention")]:
        lines += [f"  {name}:", *(f"    {kind}, {calls} calls" for kind, calls in speed[name].items())]
    for name in [name for name in speed if name.endswith("profiled")]:
        lines.append(f"  {name}: {json.dumps(speed[name]['kinds'])}")
    verdict = "reached" if ratio(speed, "ours") <= AIM else "NOT REACHED"
    verdict = verdict if agrees(speed) else "MEANS NOTHING: the outputs differ"
    return [*lines, f"  ours, two speakers by one: at most {AIM}: {verdict}"]


def stage_lines(name: str, job: dict[str, Any]) -> list[str]:
    """The table of one job."""
    nodes, lines = dict(job["nodes"]), [f"{name}: {job['seconds']:.2f} s, MP4 {job.get('mp4')}"]
    for stage, titles in STAGES.items():
        lines.append(f"  {stage:44}{sum(nodes.pop(title, 0.0) for title in titles):9.2f} s")
        if stage == "talk":
            for each in job["talk"]:
                lines.append(f"      {each['stage']:40}{each['seconds']:9.2f} s")
    lines.append(f"  {'the rest':44}{sum(nodes.values()):9.2f} s")
    reserved = max((each.get("reserved_gib", 0.0) for each in job["talk"]), default=0.0)
    peak = f"  peak: GPU {job['peak_gpu_gib']} GiB, {reserved} GiB of it torch's, process {job['peak_rss_gib']} GiB"
    return [*lines, peak]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parts", nargs="*", choices=("speed", "stages"), default=("speed", "stages"))
    parser.add_argument("--timed", type=int, default=5, help="evaluations whose median is taken, after two")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal with the demo's tiny weights")
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI tree; default: as the worker finds it")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--logs", type=Path, help="a folder for ComfyUI's log")
    args = parser.parse_args()
    found = asyncio.run(measure(args))
    print(f"{found['gpu']}; weights made in {found['weights_made_s']} s, ComfyUI ready in {found['comfyui_ready_s']} s")
    if "speed" in found:
        print("\n".join(speed_lines(found["speed"])))
    for name, job in found.get("stages", {}).items():
        print("\n".join(stage_lines(name, job)))
    if args.tiny or "speed" not in found:
        return 0
    return 0 if agrees(found["speed"]) and ratio(found["speed"], "ours") <= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
