"""What a dance holds in memory: 5 minutes of it need no more than 10 seconds.

    python -m bench.mimicmotion_memory [--json] [--seconds 10 300] [--resolution 64]

Real ComfyUI under the worker's own flags on the CPU, the pinned graph with every node of it, tiny weights, one step,
no guidance, 64x64 (--resolution: the short side), chunks of 72 frames. The driving video is 160x288 at 30 frames a
second with sound; every other frame is used. Each length has a ComfyUI of its own, in which a dance of 3 seconds comes
first: loading the models is no part of the run. Counted is the most that the process had resident (RSS) from then to
the MP4's end, by the kernel's own high-water mark. Aim: the longest at most 15 % above the shortest, else the exit
code is 1. At 64x64 that shows a leak of one float picture a pose; one of bytes needs a larger --resolution.

Before it counts, the run has to have been one: somebody in every frame, every chunk made (no two have the same poses),
and an MP4 of the right length with sound.

--allocator keep has glibc keep what it is given back: faster, and what is seen is the most that was ever in use.
"""

import argparse
import asyncio
import functools
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from bench.memory import AIM_RATIO, EVERY_S, PERIOD, write_with_sound
from demo.sample import ASSETS, draw_driving_frames
from demo.tiny import TINY_NODES, tiny_models
from demo.world import KEEP_MEMORY, ROOT
from worker.engine import Engine
from worker.events import Finished, NodeStarted
from worker.finished import Expected, check_mp4
from worker.graph import load_graph, title_in
from worker.operations.base import WORKFLOWS
from worker.operations.mimicmotion import (
    CROSSFADE,
    FIT,
    IMAGE,
    MIMICMOTION,
    REFERENCE,
    RETIME,
    SAMPLE,
    SAVE,
    VIDEO,
    MimicMotionRequest,
)
from worker.probe import probe_video
from worker.settings import Settings
from worker.timeline import count_chunks, frames_retimed, frames_sampled

WIDTH, HEIGHT, SOURCE_FPS = 160, 288, 30
FPS, STRIDE, CHUNK = 15.0, 2, 72
WARM_UP_S = 3
LIMIT_S = 2 * 3600
MIB = 2**20


class Resident:
    """A process's RSS in MiB while it is open: `peak` by the kernel, `samples` [(seconds, MiB, `at`)] by looking."""

    def __init__(self, pid: int):
        self.at, self.peak = "", 0.0
        self.samples: list[tuple[float, float, str]] = []
        self._process, self._folder, self._over = psutil.Process(pid), Path(f"/proc/{pid}"), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Resident":
        (self._folder / "clear_refs").write_text("5")  # sets the high-water mark back to what is resident now
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        (line,) = (line for line in (self._folder / "status").read_text().splitlines() if line.startswith("VmHWM"))
        self.peak = int(line.split()[1]) / 1024

    def by_node(self) -> dict[str, int]:
        """{title: most MiB while that node ran}, in the order in which they ran."""
        found: dict[str, float] = {}
        for _, mib, title in self.samples:
            found[title] = max(found.get(title, 0.0), mib)
        return {title: round(mib) for title, mib in found.items() if title}

    def growth(self) -> float:
        """MiB by which it rose from the third quarter to the last: medians, a quarter of the time apart."""
        _, _, third, last = np.array_split([mib for _, mib, _ in self.samples], 4)
        return float(np.median(last) - np.median(third))

    def _watch(self) -> None:
        began = time.monotonic()
        while not self._over.wait(EVERY_S):
            self.samples.append((time.monotonic() - began, self._process.memory_info().rss / MIB, self.at))


@functools.cache
def drawn_once() -> list[np.ndarray]:
    """The driving video's upright middle: one period of its movement."""
    found = []
    for drawn in draw_driving_frames(PERIOD):
        height, width = drawn.shape[:2]
        across = height * WIDTH // HEIGHT
        left = (width - across) // 2
        found.append(cv2.resize(drawn[:, left : left + across], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
    return found


def dancer(num_frames: int) -> Iterator[np.ndarray]:
    """Those pictures in a light that changes and never repeats: poses follow it, so that no two chunks are alike."""
    for number in range(num_frames):
        light = 0.75 + 0.25 * np.sin(number * 0.061803)
        yield (drawn_once()[number % PERIOD] * light).astype(np.uint8)


def size_of(resolution: int) -> tuple[int, int]:
    """Width and height of the video, pixels, by the operation's own rule."""
    # Below what a request may ask for, hence unchecked.
    return MimicMotionRequest.model_construct(resolution=resolution).size


def prompt_of(image: str, video: str, name: str, resolution: int) -> dict[str, Any]:
    """The pinned graph with small numbers. image, video: in ComfyUI's input folder."""
    small = {"steps": 1, "min_guidance": 1.0, "max_guidance": 1.0, "num_frames": CHUNK, "crossfade": CROSSFADE}
    return load_graph(WORKFLOWS / "mimicmotion.json").bind(
        {
            IMAGE: {"image": image},
            VIDEO: {"file": video},
            SAMPLE: {"sample_stride": STRIDE},
            FIT: {"resolution": resolution},
            MIMICMOTION: {**small, "name": name},
            RETIME: {"fps": FPS},
            SAVE: {"filename_prefix": name},
        }
    )


async def dance(engine: Engine, seconds: int, name: str, resolution: int) -> dict[str, Any]:
    """One video's dance; SystemExit where it is not what it should be."""
    shutil.copy(ASSETS / "person.png", engine.input_dir / "person.png")
    driving = engine.input_dir / f"{name}.mp4"
    write_with_sound(driving, dancer(seconds * SOURCE_FPS), seconds, SOURCE_FPS)
    prompt = prompt_of("person.png", driving.name, name, resolution)
    prompt_id, began = str(uuid.uuid4()), time.monotonic()
    made: list[Path] = []
    assert engine.process_id is not None
    with Resident(engine.process_id) as memory:
        async with engine.client() as client:
            await client.submit(prompt, prompt_id, began + LIMIT_S)
            async for event in client.follow(prompt_id, began + LIMIT_S):
                if isinstance(event, NodeStarted):
                    memory.at = title_in(prompt, event.node_id)
                    print(f"{name}, {seconds} s: {memory.at}", file=sys.stderr, flush=True)
                if isinstance(event, Finished):
                    made = [engine.path_of(file) for file in event.outputs if file.type == "output"]
    took = time.monotonic() - began
    poses, chunks = check_run(engine, driving, made, name, resolution)
    return {
        "seconds_of_video": seconds,
        "poses": poses,
        "chunks": chunks,
        "peak_mib": round(memory.peak),
        "seconds": round(took),
        # In less than a minute it would be what the stages of a run differ by.
        "second_half_mib_a_minute": round(memory.growth() / (seconds / 4 / 60), 1) if seconds >= 60 else None,
        "peak_mib_by_node": memory.by_node(),
        "course": course(memory.samples),
    }


def check_run(engine: Engine, driving: Path, made: list[Path], name: str, resolution: int) -> tuple[int, int]:
    """(poses, chunks) if the whole chain ran for all of them; else SystemExit."""
    sampled = frames_sampled(probe_video(driving), STRIDE, 0.0, None)
    chunks = count_chunks(sampled.num_frames, CHUNK - REFERENCE, CROSSFADE)
    kept = list((engine.base_directory / "user" / "comfy_motion" / "kept" / name).glob("*/clip.json"))
    if len(kept) != chunks:
        raise SystemExit(f"{len(kept)} chunks were made, and {sampled.num_frames} poses take {chunks}")
    assert engine.log_path is not None
    if "nobody was found" in engine.log_path.read_text(errors="replace"):
        raise SystemExit("there are frames in which nobody was found")
    (mp4,) = [path for path in made if path.suffix == ".mp4"]
    report = check_mp4(mp4, Expected(*size_of(resolution), FPS, frames_retimed(sampled.length, FPS), has_audio=True))
    if not report.ok:
        raise SystemExit(f"the MP4 is not right:\n{report.table()}")
    return sampled.num_frames, chunks


def course(samples: list[tuple[float, float, str]], points: int = 20) -> list[list[int]]:
    """[seconds, most MiB since the last point]: a slow climb can be seen."""
    step = max(1, len(samples) // points)
    parts = [samples[start : start + step] for start in range(0, len(samples), step)]
    return [[round(part[-1][0]), round(max(mib for _, mib, _ in part))] for part in parts]


async def measure(seconds: int, models: Path, resolution: int) -> dict[str, Any]:
    """One length in a ComfyUI of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-dance-") as folder:
        settings = Settings(work_path=Path(folder), model_path=models)
        engine = Engine(settings, node_packs=(TINY_NODES,), device="cpu")
        await engine.start()
        try:
            await engine.wait_ready(300)
            await dance(engine, WARM_UP_S, "warm-up", resolution)
            return await dance(engine, seconds, "dance", resolution)
        except BaseException:
            print("\n".join(engine.last_lines(30)), file=sys.stderr)
            raise
        finally:
            await engine.stop()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 300], help="lengths of the driving videos")
    parser.add_argument("--resolution", type=int, default=64, help="short side in pixels, a multiple of 64")
    parser.add_argument("--allocator", choices=("keep", "default"), default="default")
    options = parser.parse_args()
    os.environ["GLIBC_TUNABLES"] = KEEP_MEMORY if options.allocator == "keep" else ""
    models = tiny_models(ROOT / "work" / "test-models")
    results = [asyncio.run(measure(seconds, models, options.resolution)) for seconds in sorted(options.seconds)]
    first, last = results[0], results[-1]
    ratio = last["peak_mib"] / first["peak_mib"]
    found = {
        "size": "{}x{}".format(*size_of(options.resolution)),
        "allocator": options.allocator,
        "cores": os.cpu_count(),
        "results": results,
    }
    found |= {"ratio": round(ratio, 3), "aim_ratio": AIM_RATIO}
    print(json.dumps(found, indent=1) if options.json else "\n".join(lines_of(found)))
    return 0 if ratio <= AIM_RATIO else 1


def lines_of(found: dict[str, Any]) -> list[str]:
    """One line a length, the most that each node saw, and the ratio."""
    results, first, last = found["results"], found["results"][0], found["results"][-1]
    lines = [f"{found['size']}, 1 step, tiny weights, {found['cores']} cores, allocator {found['allocator']}\n"]
    lines.append("  length    poses   chunks   peak RSS   second half   takes")
    for run in results:
        growth = run["second_half_mib_a_minute"]
        lines.append(
            f"  {run['seconds_of_video']:4d} s {run['poses']:8d} {run['chunks']:8d} {run['peak_mib']:6d} MiB"
            f" {'' if growth is None else f'{growth:+.1f} MiB/min':>14} {run['seconds']:5d} s"
        )
    lines.append("\n  most while the node ran, MiB")
    for title, mib in last["peak_mib_by_node"].items():
        lines.append(f"  {title:24}" + "".join(f"{run['peak_mib_by_node'].get(title, 0):8d}" for run in results[:-1]))
        lines[-1] += f"{mib:8d}"
    verdict = "reached" if found["ratio"] <= found["aim_ratio"] else "NOT REACHED"
    minutes = (last["seconds_of_video"] - first["seconds_of_video"]) / 60
    more = f"{(last['peak_mib'] - first['peak_mib']) / minutes:+.1f} MiB a minute of video" if minutes else ""
    lines.append(f"\nThe longest by the shortest: {found['ratio']:.3f}, at most {found['aim_ratio']}: {verdict}")
    lines[-1] += f"; {more}" if more else ""
    return lines


if __name__ == "__main__":
    sys.exit(main())
