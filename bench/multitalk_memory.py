"""What a talk holds in memory: 3 minutes of sound need no more than 10 seconds.

    python -m bench.multitalk_memory [--json] [--seconds 10 180]

Real ComfyUI under the worker's own flags on the CPU, the pinned graph with every node of it but for the picture, which
is made 96x96; tiny weights, wav2vec2 of its true size; two voices together, windows of 101 frames, two steps without
guidance. Each length has a ComfyUI of its own, in which a talk of 10 seconds comes first: loading the models is no part
of the run. Counted is the most that the process had resident (RSS) from then to the MP4's end, by the kernel's own
high-water mark. Aim: the longest at most 15 % above the shortest, else the exit code is 1. A leak of one float picture
a frame would be 450 MiB in 3 minutes, which shows; one of bytes, 110 MiB, does not.

Before it counts, the run has to have been one: an MP4 of the right length with sound, and all windows told of.

--allocator keep has glibc keep what it is given back: faster, and what is seen is the most that was ever in use.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from bench.memory import AIM_RATIO
from bench.mimicmotion_memory import Resident, course
from bench.multitalk_jobs import SmallMultiTalk, make_files, request_of, see_people
from bench.one_job import PROBES
from demo.tiny import TINY_NODES, tiny_models
from demo.world import KEEP_MEMORY, ROOT
from worker.engine import Engine
from worker.events import Finished, NodeProgress, NodeStarted
from worker.finished import check_mp4
from worker.graph import title_in
from worker.operations.multitalk import TALK, spoken
from worker.settings import Settings
from worker.timeline import TALK_FPS

SIDE, WINDOW, WARM_UP_S = 96, 101, 10
LIMIT_S = 3600
SMALL = {"sampling_steps": 2, "guidance_scale": 1.0, "audio_guidance_scale": 1.0}


async def talk(engine: Engine, seconds: int, name: str) -> dict[str, Any]:
    """One talk; SystemExit where it is not what it should be."""
    operation, files = SmallMultiTalk(SIDE), make_files(engine.input_dir / name, seconds * TALK_FPS, (SIDE, SIDE))
    request = operation.parse(request_of(WINDOW, **SMALL), engine.settings)
    infos = {role: PROBES[wanted.kind](files[role]) for role, wanted in operation.wanted(request).items()}
    inputs = {role: f"{name}/{path.name}" for role, path in files.items()}
    prompt_id, began = str(uuid.uuid4()), time.monotonic()
    prompt = operation.bind(request, inputs, infos, prompt_id).prompt
    made: list[Path] = []
    told = 0.0
    assert engine.process_id is not None
    with Resident(engine.process_id) as memory:
        async with engine.client() as client:
            await client.submit(prompt, prompt_id, began + LIMIT_S)
            async for event in client.follow(prompt_id, began + LIMIT_S):
                if isinstance(event, NodeStarted):
                    memory.at = title_in(prompt, event.node_id)
                    print(f"{name}, {seconds} s: {memory.at}", file=sys.stderr, flush=True)
                if isinstance(event, NodeProgress) and title_in(prompt, event.node_id) == TALK[0]:
                    told = max(told, event.maximum)
                if isinstance(event, Finished):
                    made = [engine.path_of(file) for file in event.outputs if file.type == "output"]
    took = time.monotonic() - began
    (mp4,) = [path for path in made if path.suffix == ".mp4"]
    report = check_mp4(mp4, operation.expected(request, infos))
    expected = spoken(request, infos)
    if not report.ok:
        raise SystemExit(f"the MP4 is not right:\n{report.table()}")
    if told < expected.windows * request.sampling_steps:
        raise SystemExit(f"{told:g} steps were told of, and {expected.windows} windows take more")
    return {
        "seconds_of_sound": seconds,
        "frames": expected.num_frames,
        "windows": expected.windows,
        "peak_mib": round(memory.peak),
        "seconds": round(took),
        "peak_mib_by_node": memory.by_node(),
        "course": course(memory.samples),
    }


async def measure(seconds: int, models: Path) -> dict[str, Any]:
    """One length in a ComfyUI of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-talk-") as folder:
        engine = Engine(Settings(work_path=Path(folder), model_path=models), node_packs=(TINY_NODES,), device="cpu")
        await engine.start()
        try:
            await engine.wait_ready(300)
            await talk(engine, WARM_UP_S, "warm-up")
            return await talk(engine, seconds, "talk")
        except BaseException:
            print("\n".join(engine.last_lines(30)), file=sys.stderr)
            raise
        finally:
            await engine.stop()


def make_models(folder: Path) -> Path:
    """The demo's tiny weights, with detectors of the benchmark's own."""
    shutil.copytree(tiny_models(ROOT / "work" / "test-models"), folder, copy_function=os.link)
    see_people(folder)
    return folder


def lines_of(found: dict[str, Any]) -> list[str]:
    """One line a length, the most that each node saw, and the ratio."""
    results = found["results"]
    lines = [f"{SIDE}x{SIDE}, tiny weights, {found['cores']} cores, allocator {found['allocator']}\n"]
    lines.append("  sound    frames   windows   peak RSS     takes")
    for run in results:
        lines.append(
            f"  {run['seconds_of_sound']:4d} s {run['frames']:8d} {run['windows']:9d} {run['peak_mib']:6d} MiB"
            f" {run['seconds']:7d} s"
        )
    lines.append("\n  most while the node ran, MiB")
    for title in results[-1]["peak_mib_by_node"]:
        lines.append(f"  {title:24}" + "".join(f"{run['peak_mib_by_node'].get(title, 0):8d}" for run in results))
    verdict = "reached" if found["ratio"] <= AIM_RATIO else "NOT REACHED"
    return [*lines, f"\nThe longest by the shortest: {found['ratio']:.3f}, at most {AIM_RATIO}: {verdict}"]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 180], help="lengths of the voices")
    parser.add_argument("--allocator", choices=("keep", "default"), default="default")
    options = parser.parse_args()
    os.environ["GLIBC_TUNABLES"] = KEEP_MEMORY if options.allocator == "keep" else ""
    with tempfile.TemporaryDirectory(prefix="bench-talk-models-", dir=ROOT / "work") as folder:
        models = make_models(Path(folder) / "models")
        results = [asyncio.run(measure(seconds, models)) for seconds in sorted(options.seconds)]
    ratio = results[-1]["peak_mib"] / results[0]["peak_mib"]
    found = {"allocator": options.allocator, "cores": os.cpu_count(), "results": results}
    found |= {"ratio": round(ratio, 3), "aim_ratio": AIM_RATIO}
    print(json.dumps(found, indent=1) if options.json else "\n".join(lines_of(found)))
    return 0 if ratio <= AIM_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
