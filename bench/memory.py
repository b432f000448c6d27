"""What a whole job holds in memory, for a short and a long driving video: it must not grow with the length.

    python -m bench.memory [--json] [--seconds 6 60] [--size 64x64] [--allocator keep]

Real everything (queue, worker, store, ComfyUI), tiny weights, one step, on the CPU. The driving video is 1280x720 at
24 frames a second with sound. Counted are the worker and ComfyUI, five times a second from the job's start to its
answer: the proportional set size (PSS), so that pages they share count once. Each length has a fresh world. Aim: the
longest peaks at most 15 % above the shortest.

Most of the peak is Wan Animate's face encoder, whose size core fixes: 8 face crops of 512x512 at a time. So the growth
is also given in MiB a minute of video; a leak of one 512x512 uint8 picture a frame would be 1080.

--allocator keep (the default) has glibc keep what it is given back, which makes the job several times as fast; what is
seen is then the most that was ever in use. default leaves glibc as it is.

A minute of video takes 10 to 15 minutes on 2 idle cores, with --allocator default an hour.
"""

import argparse
import itertools
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import requests

from cli.client import EndpointClient
from demo.sample import ASSETS, FPS, SOUND_RATE, draw_driving_frames, melody
from demo.tiny import tiny_models
from demo.world import KEEP_MEMORY, ROOT, World

AIM_RATIO = 1.15
EVERY_S = 0.2
LIMIT_S = 2 * 3600
PERIOD = 48  # frames after which the drawn movement repeats


def write_driving(path: Path, seconds: int) -> None:
    """The project's own driving video, waving on for as long as wanted, with sound."""
    pictures = list(draw_driving_frames(PERIOD))
    write_with_sound(path, (pictures[number % PERIOD] for number in range(seconds * FPS)), seconds, FPS)


def write_with_sound(path: Path, pictures: Iterable[np.ndarray], seconds: int, fps: int) -> None:
    """H.264 of the pictures, uint8 [h, w, 3], and so many seconds of melody."""
    pictures = iter(pictures)
    first = next(pictures)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        video = container.add_stream("libx264", rate=fps, options={"crf": "27", "preset": "veryfast"})
        video.height, video.width = first.shape[:2]
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=SOUND_RATE, layout="stereo")
        for number, picture in enumerate(itertools.chain([first], pictures)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        sound = melody(seconds)
        for start in range(0, sound.shape[1], 1024):
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[:, start : start + 1024]), "fltp", "stereo")
            block.sample_rate, block.pts = SOUND_RATE, start
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))


@dataclass
class Watcher:
    """Adds up the memory of a process and all it started, in a thread. MiB of PSS."""

    root: int
    samples: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "Watcher":
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    @property
    def peak(self) -> dict[str, float]:
        """The sample with the largest sum: {process: MiB}."""
        return max((parts for _, parts in self.samples), key=lambda parts: sum(parts.values()))

    def _watch(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(EVERY_S):
            self.samples.append((time.monotonic() - began, self._look()))

    def _look(self) -> dict[str, float]:
        found: dict[str, float] = {}
        root = psutil.Process(self.root)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                kind = "worker" if process.pid == self.root else _kind(process)
                found[kind] = found.get(kind, 0.0) + process.memory_full_info().pss / 2**20
        return found


def _kind(process: psutil.Process) -> str:
    return "ComfyUI" if any(part.endswith("main.py") for part in process.cmdline()) else "others"


def measure(driving: Path, models: Path, size: tuple[int, int], environment: dict[str, str]) -> dict[str, Any]:
    """One job in a world of its own."""
    environment = {"JOB_TIMEOUT_S": str(LIMIT_S), **environment}
    with (
        tempfile.TemporaryDirectory(prefix="bench-memory-") as name,
        World(Path(name), models, environment=environment) as world,
    ):
        fields = {
            "input_image_minio_path": world.upload(ASSETS / "person.png", "in/person.png"),
            "driving_video_path": world.upload(driving, "in/driving.mp4"),
            **{"width": size[0], "height": size[1], "steps": 1, "seed": 1},
        }
        assert world.worker
        with Watcher(world.worker.pid) as watcher:
            answer = _run(world, fields)
    peak = watcher.peak
    return {
        "seconds_of_video": answer["duration_seconds"],
        "frames": answer["num_frames"],
        "peak_mib": round(sum(peak.values())),
        "of_it": {kind: round(mib) for kind, mib in peak.items()},
        "job_seconds": answer["timings"]["total"],
        "samples": len(watcher.samples),
        "course": _course(watcher.samples),
    }


def _run(world: World, fields: dict[str, Any]) -> dict[str, Any]:
    """Past the client's own submit, which has no `policy`: a job that takes longer than the queue allows."""
    body = {"input": fields, "policy": {"executionTimeout": LIMIT_S * 1000}}
    url = f"{world.queue.url}/{world.queue.endpoint}/run"
    job = requests.post(url, json=body, headers={"Authorization": "Bearer local"}, timeout=30).json()
    status, _ = EndpointClient(world.queue.endpoint, world.queue.url).follow(job["id"], LIMIT_S)
    if status["status"] != "COMPLETED":
        raise SystemExit(f"the job did not succeed: {status}")
    return status["output"]


def _course(samples: list[tuple[float, dict[str, float]]], points: int = 20) -> list[list[int]]:
    """[seconds, MiB at most until then since the last point], so that a slow climb can be seen."""
    step = max(1, len(samples) // points)
    parts = [samples[start : start + step] for start in range(0, len(samples), step)]
    return [[round(part[-1][0]), round(max(sum(kinds.values()) for _, kinds in part))] for part in parts]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--seconds", type=int, nargs="+", default=[6, 60], help="lengths of the driving videos")
    parser.add_argument("--size", default="64x64", help="of the video that is made, pixels")
    parser.add_argument("--allocator", choices=("keep", "default"), default="keep")
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    environment = {"GLIBC_TUNABLES": KEEP_MEMORY if options.allocator == "keep" else ""}
    models = tiny_models(ROOT / "work" / "test-models")
    results = []
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder:
        for seconds in sorted(options.seconds):
            driving = Path(folder) / f"driving_{seconds}.mp4"
            write_driving(driving, seconds)
            results.append(measure(driving, models, (width, height), environment))
    report(results, options)


def report(results: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """One line a length, then the ratio."""
    first, last = results[0], results[-1]
    more = last["peak_mib"] - first["peak_mib"]
    minutes = (last["seconds_of_video"] - first["seconds_of_video"]) / 60
    found = {
        "size": options.size,
        "allocator": options.allocator,
        "cores": os.cpu_count(),
        "results": results,
        "ratio": round(last["peak_mib"] / first["peak_mib"], 3),
        "growth_mib_a_minute": round(more / minutes) if minutes else 0,
        "aim_ratio": AIM_RATIO,
    }
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{options.size}, 1 step, tiny weights, {os.cpu_count()} cores, allocator {options.allocator}\n")
    print("  length   frames   peak memory   worker   ComfyUI    job takes")
    for run in results:
        parts = run["of_it"]
        print(
            f"  {run['seconds_of_video']:4.0f} s {run['frames']:8d} {run['peak_mib']:9d} MiB"
            f" {parts.get('worker', 0):8d} {parts.get('ComfyUI', 0):9d} {run['job_seconds']:10.0f} s"
        )
    print(f"\nThe longest by the shortest: {found['ratio']:.3f} (aim at most {AIM_RATIO:g}), ", end="")
    print(f"{found['growth_mib_a_minute']:+d} MiB a minute of video")


if __name__ == "__main__":
    main()
