"""How fast poses are drawn: `python -m bench.pose [--json]`.

A whole-body pose, every point seen and moving, drawn at 1280x720 from a lazy PoseFrames, 16 frames a read. The target
is 60 frames a second on 2 cores. The letterboxed and the face-crop figures are printed for comparison.
"""

import argparse
import json
import time
from fractions import Fraction

import numpy as np
import torch

from custom_nodes.comfy_motion.pose.draw import PoseFrames
from custom_nodes.comfy_motion.pose.face import FaceFrames
from custom_nodes.comfy_motion.pose.keypoints import Pose
from custom_nodes.comfy_motion.video.frames import Frames, TensorFrames
from demo.tiny_detectors import standing_pose

WIDTH, HEIGHT, NUM_FRAMES, TARGET = 1280, 720, 480, 60.0


def walking_pose() -> Pose:
    """The tiny detectors' standing pose, filling the picture's height and swaying."""
    places, sway = standing_pose()
    swing = np.sin(np.arange(NUM_FRAMES) / 7)[:, None, None]
    points = (places + 4 * swing * sway - 0.5) * (HEIGHT * 0.75, HEIGHT) * 1.2 + (WIDTH / 2, HEIGHT / 2)
    scores = np.full((NUM_FRAMES, 133), 0.9, np.float32)
    boxes = np.zeros((NUM_FRAMES, 5), np.float32)
    return Pose(points.astype(np.float32), scores, boxes, WIDTH, HEIGHT, Fraction(24))


def frames_per_second(frames: Frames) -> float:
    """Each chunk is copied once: black pages nobody has touched would cost nothing."""
    frames.read(0, 1)
    started = time.perf_counter()
    count = sum(len(chunk.clone()) for chunk in frames.chunks(16))
    return count / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    as_json = parser.parse_args().json
    pose = walking_pose()
    picture = torch.randint(0, 255, (1, HEIGHT, WIDTH, 3), dtype=torch.uint8).expand(NUM_FRAMES, -1, -1, -1)
    result = {
        "draw_1280x720_fps": frames_per_second(PoseFrames(pose, WIDTH, HEIGHT)),
        "draw_letterboxed_720x1280_fps": frames_per_second(PoseFrames(pose, HEIGHT, WIDTH)),
        "face_crop_fps": frames_per_second(FaceFrames(TensorFrames(picture), pose, 0.2)),
        "target_fps": TARGET,
    }
    result = {name: round(value, 1) for name, value in result.items()}
    if as_json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:32} {value:8.1f}")


if __name__ == "__main__":
    main()
