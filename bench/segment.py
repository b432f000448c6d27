"""What more boxes cost: `python -m bench.segment [--device cuda] [--precision fp32] [--runs 5] [--json]`.

SAM2.1 hiera large with random weights, a picture of 1920x1080 (JPEG) with 1 and with 5 boxes, from the file to the
last PNG: read, encode, decode, masks at the picture's size, PNGs. Median of the runs after one of each that does not
count. 5 boxes may cost 1.3 times 1 box. On 2 cores a run takes about ten seconds.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.true_weights import SAM2, write_sam2
from custom_nodes.comfy_motion.segment.drawn import write_masks
from custom_nodes.comfy_motion.segment.image import segment_image
from custom_nodes.comfy_motion.segment.model import PRECISIONS, Sam2
from custom_nodes.comfy_motion.segment.prompts import Boxes
from custom_nodes.comfy_motion.video.frames import to_float, to_uint8
from demo.sample import ASSETS

WIDTH, HEIGHT, MOST_RATIO = 1920, 1080, 1.3
COUNTS = (1, 5)
BOXES = [[100.0 + 300 * n, 150, 400 + 300 * n, 600] for n in range(max(COUNTS))]


def load(folder: Path, precision: str) -> Sam2:
    """A model of the true size; its masks are ovals with an uneven edge, so that PNGs cost what they do."""
    path = folder / SAM2
    write_sam2(path)
    return Sam2.load(path, precision)


def one_run(sam2: Sam2, picture: Path, count: int, folder: Path, clock: dict[str, float]) -> None:
    """What the graph's nodes do, one after the other. `clock` gets seconds by stage."""
    began = time.perf_counter()
    with Image.open(picture) as image:
        loaded = to_float(torch.from_numpy(np.array(image.convert("RGB"))))
    read = time.perf_counter()
    masks, _ = segment_image(sam2, to_uint8(loaded), Boxes(BOXES[:count]))
    segmented = time.perf_counter()
    write_masks(masks.float(), [folder / f"mask_{number:05}_.png" for number in range(count)])
    written = time.perf_counter()
    clock |= {"read": read - began, "segment": segmented - read, "write": written - segmented, "all": written - began}


def measure(sam2: Sam2, folder: Path, runs: int) -> dict[str, dict[str, float]]:
    """{boxes: {stage: median seconds}}; the counts take turns, so that a busy machine slows both."""
    picture = folder / "picture.jpg"
    with Image.open(ASSETS / "person.png") as person:
        person.convert("RGB").resize((WIDTH, HEIGHT)).save(picture, quality=92)
    found: dict[int, list[dict[str, float]]] = defaultdict(list)
    for number in range(runs + 1):
        for count in COUNTS:
            clock: dict[str, float] = {}
            one_run(sam2, picture, count, folder, clock)
            if number:
                found[count].append(clock)
    return {
        str(count): {stage: round(statistics.median(run[stage] for run in clocks), 4) for stage in clocks[0]}
        for count, clocks in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="fp32", help="of the weights; the graph's")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # read when torch first looks for a GPU, which is later
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device")
    with tempfile.TemporaryDirectory() as folder:
        sam2 = load(Path(folder), options.precision)
        seconds = measure(sam2, Path(folder), options.runs)
        device = sam2.ready()
    ratio = seconds["5"]["all"] / seconds["1"]["all"]
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    result = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads",
        "precision": options.precision,
        "runs": options.runs,
        "seconds_by_boxes": seconds,
        "ratio": round(ratio, 3),
        "most_ratio": MOST_RATIO,
        "peak_gpu_gib": round(memory, 2),
    }
    if options.json:
        print(json.dumps(result))
        return
    print(f"{result['device']}, {options.precision}, median of {options.runs} runs, peak {memory:.2f} GiB on the GPU")
    for count, stages in seconds.items():
        print(f"{count} boxes  " + "  ".join(f"{stage} {value:.3f} s" for stage, value in stages.items()))
    print(f"ratio {ratio:.3f}, at most {MOST_RATIO}: {'reached' if ratio <= MOST_RATIO else 'NOT REACHED'}")


if __name__ == "__main__":
    main()
