"""MimicMotion on a GPU: seconds a step, ours and the original way, and a whole chunk on a card that has less memory.

    python -m bench.mimicmotion_gpu FOLDER [--cap GB ...] [--frames 72] [--steps 25] [--json FILE]

Real ComfyUI under the worker's own flags, random weights of the true size in FOLDER (12 GB), 576x1024. One run
compares the outputs of a step, then times the steps (bench/gpu_nodes says how), then makes a chunk with our
node, cold and at its defaults. For each --cap another process holds so much of the card that this many GB (1e9
bytes, the CUDA context's own included) are left; ComfyUI starts on what is left and makes the chunk again, or fails.
`--tiny` rehearses it all on a CPU with the demo's weights and measures nothing.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.graphs import prompt_of, run, running
from bench.true_weights import SVD, ensure, write_random
from bench.watch import gpu_memory_gib, gpu_name
from demo.tiny import tiny_models
from worker.engine import Engine
from worker.errors import JobError
from worker.find_comfyui import find_comfyui
from worker.settings import Settings

WIDTH, HEIGHT, TINY_SIDE = 576, 1024, 64
AIM = 1.5
"""Times as fast a step as the original way."""
AGREE = 0.02
"""Relative L2 in fp16 up to which two ways say the same of a step; without poses it is above 0.8."""
WEIGHTS, TINY_WEIGHTS = "MimicMotion_1-1.safetensors", "MimicMotion_1-1.pth"
MIMICMOTION = "MimicMotion"
WORDS = ("posenet_once_s", "posenet_a_step_s", "clip_and_vae_encode_s")


def write_weights(path: Path) -> None:
    """MimicMotion's file, fp16 as published. Run where ComfyUI can be imported."""
    from bench.shapes import svd_unet
    from demo.tiny_mimicmotion_shapes import POSE_NET, diffusers_name

    shapes = {f"unet.{diffusers_name(name)}": tuple(value.shape) for name, value in svd_unet().state_dict().items()}
    for number, (narrow, wide, kernel) in enumerate(POSE_NET):
        layer = f"pose_net.conv_layers.{2 * number}"
        shapes |= {f"{layer}.weight": (wide, narrow, kernel, kernel), f"{layer}.bias": (wide,)}
    shapes |= {"pose_net.final_proj.weight": (320, 128, 1, 1), "pose_net.final_proj.bias": (320,)}
    write_random(path, {name: ("F16", shape) for name, shape in (shapes | {"pose_net.scale": (1,)}).items()})


def make_weights(folder: Path, comfyui: Path, tiny: bool) -> tuple[Path, str]:
    """(models folder, name of MimicMotion's file in it); what is there already stays as it is."""
    models = folder / ("tiny" if tiny else "models")
    if tiny:
        tiny_models(models)
        if not (models / "mimicmotion" / TINY_WEIGHTS).exists():
            from demo.tiny_mimicmotion import write_tiny_mimicmotion

            write_tiny_mimicmotion(models)
        return models, TINY_WEIGHTS
    ensure(models, comfyui, ["animate"])
    path = models / "mimicmotion" / WEIGHTS
    if not path.exists():  # in a process of its own: see bench.true_weights.ensure
        paths = os.pathsep.join([str(comfyui), os.getcwd(), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "bench.mimicmotion_gpu", str(path), "--only-weights"]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=True)
    return models, WEIGHTS


def graph(weights: str, frames: int, side: tuple[int, int]) -> dict[str, Any]:
    """What both runs share: the models, and pictures for the person and the drawn poses."""
    width, height = side
    nodes: dict[str, Any] = {
        "svd": ("ImageOnlyCheckpointLoader", "SVD model", {"ckpt_name": Path(SVD).name}),
        "model": ("CMLoadMimicMotion", "MimicMotion model", {"weights": weights}),
    }
    for seed, (name, number) in enumerate({"reference": 1, "first": 1, "drawn": frames - 1}.items()):
        made = {"width": width, "height": height, "frames": number, "seed": seed}
        nodes[name] = ("CMBenchPoses", name, made)
    for name in ("first", "drawn"):
        nodes[f"{name} frames"] = ("CMImagesToFrames", f"{name} frames", {"images": [name, 0], "fps": 15.0})
    return nodes


LINKS: dict[str, Any] = {
    "model": ["model", 0],
    "pose_net": ["model", 1],
    "clip_vision": ["svd", 1],
    "vae": ["svd", 2],
    "reference": ["reference", 0],
    "reference_pose": ["first frames", 0],
    "pose": ["drawn frames", 0],
}


def steps_graph(nodes: dict[str, Any], weights: Path, steps: int, file: str) -> dict[str, Any]:
    told = {"weights": str(weights), "steps": steps, "path": file}
    return prompt_of(nodes | {"end": ("CMBenchSteps", "Steps", LINKS | told)})


def chunk_graph(nodes: dict[str, Any], steps: int, name: str, file: str) -> dict[str, Any]:
    """Our node at its defaults. name: of what it keeps; another one, so that nothing kept is found."""
    told = {"steps": steps, "min_guidance": 2.0, "max_guidance": 2.0, "noise_aug_strength": 0.0, "seed": 42}
    told |= {"num_frames": 72, "tile": 72, "frames_overlap": 6, "crossfade": 8, "name": name}
    dance = ("CMMimicMotion", MIMICMOTION, LINKS | told)
    return prompt_of(nodes | {"dance": dance, "end": ("CMBenchEnd", "End", {"frames": ["dance", 0], "path": file})})


@contextlib.contextmanager
def capped(gigabytes: float) -> Iterator[float]:
    """Holds the card's memory but for so much (1e9 bytes); gives the GiB that are held."""
    command = [sys.executable, "-m", "bench.mimicmotion_gpu", str(gigabytes), "--hold"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        print(f"cap: {holder.stdout.readline().strip()}", file=sys.stderr, flush=True)
        try:
            yield gpu_memory_gib()
        finally:
            holder.stdin.close()


def hold(gigabytes: float) -> None:
    """Takes memory until only so much is free, and keeps it until the input ends."""
    import torch

    if torch.cuda.is_available():
        torch.zeros(1, device="cuda")
        free, _ = torch.cuda.mem_get_info()
        held = torch.empty(int(free - gigabytes * 1e9), dtype=torch.uint8, device="cuda")
        print(f"{len(held) / 1e9:.2f} GB held, {torch.cuda.mem_get_info()[0] / 1e9:.2f} GB left", flush=True)
    else:
        print("no GPU: nothing is held", flush=True)
    sys.stdin.read()


async def chunk(engine: Engine, args: argparse.Namespace, nodes: dict[str, Any], name: str) -> dict[str, Any]:
    path = engine.output_dir / f"{uuid.uuid4()}.json"
    found = await run(engine, chunk_graph(nodes, args.steps, f"bench-{name}-{path.stem[:8]}", path.name))
    return found | {"end": json.loads(path.read_text())}


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The weights, the steps, the chunk, and the chunk under each cap; what fails under a cap is said, not raised."""
    args.folder.mkdir(parents=True, exist_ok=True)
    models, weights = make_weights(args.folder, find_comfyui(Settings(comfyui_path=args.comfyui)).path, args.tiny)
    nodes = graph(weights, args.frames, (TINY_SIDE, TINY_SIDE) if args.tiny else (WIDTH, HEIGHT))
    found: dict[str, Any] = {"gpu": gpu_name(), "frames": args.frames}

    def save() -> None:
        if args.json:
            args.json.write_text(json.dumps(found, indent=1) + "\n")

    if "steps" in args.parts or "chunk" in args.parts:
        async with running(args, models, "free") as engine:
            if "steps" in args.parts:
                path = engine.output_dir / "steps.json"
                try:
                    await run(engine, steps_graph(nodes, models / "mimicmotion" / weights, args.timed, path.name))
                finally:
                    if path.exists():
                        found["speed"] = json.loads(path.read_text())
                        save()
            if "chunk" in args.parts:
                found["a chunk, whole card"] = await chunk(engine, args, nodes, "free")
                save()
    for gigabytes in args.cap:
        name = f"a chunk, {gigabytes:g} GB"
        with capped(gigabytes) as held:
            found[name] = {"held_gib": round(held, 2)}
            try:
                async with running(args, models, f"cap{gigabytes:g}") as engine:
                    found[name] |= await chunk(engine, args, nodes, f"cap{gigabytes:g}")
                    found[name]["own_peak_gib"] = round(found[name]["peak_gpu_gib"] - held, 2)
            except JobError as error:
                found[name]["failed"] = f"{error.code}: {error}"
        save()
    return found


def lines_of(found: dict[str, Any]) -> list[str]:
    """The tables."""
    lines = [f"{found['gpu']}; {found['frames']} frames, the reference among them"]
    speed = found.get("speed", {})
    first = speed.get("original", {}).get("median_s")
    for name, value in speed.items():
        if isinstance(value, dict) and "median_s" in value and first:
            lines.append(f"  {name:44}{value['median_s']:9.3f} s a step {first / value['median_s']:6.2f} x")
        elif name in WORDS or name.startswith("relative") or name == "finite":
            lines.append(f"  {name:44}{value:9.4g}")
    if "ours" in speed:
        times = first / speed["ours"]["median_s"]
        verdict = "reached" if times >= AIM else "NOT REACHED"
        if not (speed["finite"] and speed["relative L2 of a step, original"] <= AGREE):  # NaN agrees with nothing
            verdict = "MEANS NOTHING: the outputs differ"
        lines.append(f"  ours against the original way: {times:.2f} x, to be reached {AIM}: {verdict}")
    for name in ("ours profiled", "original profiled"):
        if name in speed:
            lines.append(f"  {name}: {speed[name]['seconds']:.3f} s of kernels a step")
            lines += [f"    {kind:44}{seconds:9.4f} s" for kind, seconds in speed[name]["kinds"].items()]
    for name in found:
        if name.startswith("a chunk"):
            lines.append(f"{name}: {json.dumps(found[name])}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parts", nargs="*", choices=("steps", "chunk"), default=("steps", "chunk"))
    parser.add_argument("--cap", nargs="*", type=float, default=[16.0], metavar="GB")
    parser.add_argument("--frames", type=int, default=72)
    parser.add_argument("--steps", type=int, default=25, help="of the whole chunk")
    parser.add_argument("--timed", type=int, default=7, help="steps whose median is taken; the first is left out")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal with the demo's tiny weights")
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI tree; default: as the worker finds it")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--logs", type=Path, help="a folder for ComfyUI's logs")
    for inner in ("--hold", "--only-weights"):
        parser.add_argument(inner, action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.hold:
        hold(float(str(args.folder)))
    elif args.only_weights:
        write_weights(args.folder)
    else:
        print("\n".join(lines_of(asyncio.run(measure(args)))))


if __name__ == "__main__":
    main()
