"""How fast masks are grown: `python -m bench.masks [--json]`.

A person-sized mask at 1280x720 that walks through the picture, grown by 9 pixels each way and squared off as the
avatar graph does it, 16 frames a read. The target is 60 frames a second on 2 cores. Reading the masks back from disk
and cutting the person out of the frames are printed for comparison.
"""

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np
import torch

from custom_nodes.comfy_motion.segment.cutout import CutOut
from custom_nodes.comfy_motion.segment.disk import DiskMasks, MaskWriter
from custom_nodes.comfy_motion.segment.grow import GrownMasks
from custom_nodes.comfy_motion.video.frames import Frames, Masks, TensorFrames

WIDTH, HEIGHT, NUM_FRAMES, TARGET = 1280, 720, 240, 60.0


def walking_masks() -> Iterator[np.ndarray]:
    """Head, body and two legs, three quarters of the picture high, uint8 [h, w] a frame."""
    for frame in range(NUM_FRAMES):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        x, swing = 240 + 800 * frame // NUM_FRAMES, int(60 * np.sin(frame / 6))
        cv2.circle(mask, (x, 140), 50, 1, -1)
        cv2.ellipse(mask, (x, 310), (90, 150), 0, 0, 360, 1, -1)
        for step in (-swing, swing):
            cv2.line(mask, (x, 420), (x + step, 640), 1, 45)
        yield mask


def frames_per_second(lazy: Masks | Frames) -> float:
    lazy.read(0, 1)
    started = time.perf_counter()
    count = sum(len(chunk) for chunk in lazy.chunks(16))
    return count / (time.perf_counter() - started)


def measure(masks: DiskMasks) -> dict[str, float]:
    """Frames a second of each step; every one includes reading the masks from disk."""
    picture = torch.randint(0, 255, (1, HEIGHT, WIDTH, 3), dtype=torch.uint8).expand(NUM_FRAMES, -1, -1, -1)
    grown = GrownMasks(masks)
    result = {
        "grow_1280x720_fps": frames_per_second(grown),
        "grow_10x20_cells_fps": frames_per_second(GrownMasks(masks, columns=10, rows=20)),
        "read_from_disk_fps": frames_per_second(masks),
        "grow_and_cut_out_fps": frames_per_second(CutOut(TensorFrames(picture), grown)),
        "target_fps": TARGET,
    }
    return {name: round(value, 1) for name, value in result.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    as_json = parser.parse_args().json
    with MaskWriter(WIDTH, HEIGHT, Fraction(24)) as writer:
        for mask in walking_masks():
            writer.write(mask)
    try:
        result = measure(writer.masks())
    finally:
        shutil.rmtree(writer.path.parent)
    if as_json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:32} {value:8.1f}")


if __name__ == "__main__":
    main()
