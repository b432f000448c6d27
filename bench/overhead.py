"""What the worker itself costs a job: submit to answer on the stand-in ComfyUI, whose nodes do no work.

    python -m bench.overhead [--jobs 10] [--json]

Everything else is real: the queue, the SDK's loop, the handler, the S3 store, the checks of input and result.
The target is under 1.5 s a job (median). Parts: `queued` is mostly the SDK (it looks for a new job up to a second
after the last one, and starts it up to 0.1 s later), `told` is from the worker's answer to the client's next look,
the rest are the worker's own stages. Two figures are measured: jobs one after the other at once (the SDK's pause
counts), and jobs that come to an idle worker.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cli.client import EndpointClient
from demo.standin.testcard import Card, write_test_card
from demo.world import World

TARGET_S = 1.5
FIELDS = {"input_image_minio_path": "in/person.png", "driving_video_path": "in/driving.mp4"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10, help="measured jobs of each kind, after one warm-up")
    parser.add_argument("--frames", type=int, default=24, help="frames of the driving video, at 24 a second")
    parser.add_argument("--size", default="256x144", help="of the video: encoding a large one is not overhead")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name)
        with World(folder, folder / "models", standin=True) as world:
            _upload_inputs(world, folder, Card(width, height, Fraction(24), args.frames, True))
            client = EndpointClient(world.queue.endpoint, world.queue.url, poll_s=0.02)
            fields = {**FIELDS, "width": width, "height": height}
            _one(client, fields)
            idle = [_one(client, fields, wait=1.5) for _ in range(args.jobs)]
            busy = [_one(client, fields) for _ in range(args.jobs)]
    found = {"cpus": os.cpu_count(), "target_s": TARGET_S, "idle_worker": _median(idle), "back_to_back": _median(busy)}
    print(json.dumps(found, indent=1) if args.json else _text(found))


def _upload_inputs(world: World, folder: Path, card: Card) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "person.png")
    write_test_card(folder / "driving.mp4", card)
    for name in ("person.png", "driving.mp4"):
        world.upload(folder / name, f"in/{name}")


def _one(client: EndpointClient, fields: dict[str, Any], wait: float = 0.0) -> dict[str, float]:
    """Seconds of one job, in parts that add up to `all`."""
    time.sleep(wait)
    began = time.monotonic()
    finished = client.run(fields, timeout=60)
    whole = time.monotonic() - began
    timings = finished.output["timings"]
    stages = {name: seconds for name, seconds in timings.items() if name not in ("total", "nodes")}
    queued, executed = finished.delay_ms / 1000, finished.execution_ms / 1000
    return {
        "all": whole,
        "queued": queued,
        **stages,
        "rest of the worker": timings["total"] - sum(stages.values()),
        "SDK around the worker": executed - timings["total"],
        "told": whole - queued - executed,
    }


def _median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


def _text(found: dict[str, Any]) -> str:
    lines = [f"seconds, median; {found['cpus']} CPUs", f"{'':26}{'idle worker':>14}{'back to back':>14}"]
    for name in found["idle_worker"]:
        lines.append(f"{name:26}{found['idle_worker'][name]:14.3f}{found['back_to_back'][name]:14.3f}")
    reached = max(found["idle_worker"]["all"], found["back_to_back"]["all"]) < TARGET_S
    return "\n".join([*lines, f"target {TARGET_S} s: {'reached' if reached else 'NOT reached'}"])


if __name__ == "__main__":
    main()
