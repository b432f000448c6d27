"""The face box by the authors' rule, its smoothing, and reading without holding the video."""

import math
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.pose.face import FaceFrames, face_boxes
from custom_nodes.comfy_motion.pose.keypoints import Pose
from custom_nodes.comfy_motion.video.frames import Frames, TensorFrames

W, H = 640, 360


def pose_of(bounds: list[tuple], scores: list[float] | None = None, size: tuple = (W, H)) -> Pose:
    """A pose whose 68 face points span exactly these bounds (x1, y1, x2, y2) in each frame."""
    rng = np.random.default_rng(0)
    n = len(bounds)
    points = np.full((n, 133, 2), 5000, np.float32)  # nothing but the face may matter
    for i, (x1, y1, x2, y2) in enumerate(bounds):
        points[i, 23:91] = rng.uniform((x1, y1), (x2, y2), (68, 2))
        points[i, 23], points[i, 90] = (x1, y1), (x2, y2)
    found = np.zeros((n, 133), np.float32)
    found[:, 23:91] = np.array(scores or [0.9] * n)[:, None]
    return Pose(points, found, np.zeros((n, 5), np.float32), *size, Fraction(24))


def plain_box(bounds: tuple, wrong: str = "") -> list[int]:
    """sqrt(1.3) each way: half left, half right, three quarters up, one quarter down; clipped, truncated."""
    x1, y1, x2, y2 = bounds
    grow = (1.3 if wrong == "area" else math.sqrt(1.3)) - 1
    more_x, more_y = (x2 - x1) * grow, (y2 - y1) * grow
    up = 0.5 if wrong == "centred" else 0.75
    whole = round if wrong == "rounded" else int
    return [
        whole(max(x1 - more_x / 2, 0)),
        whole(max(y1 - more_y * up, 0)),
        whole(min(x2 + more_x / 2, W)),
        whole(min(y2 + more_y * (1 - up), H)),
    ]


BOUNDS = [(100.2, 80.7, 161.3, 150.9), (-10, 5, 60, 90), (590, 300, 650, 380), (300, 2, 330, 40), (201, 101, 263, 170)]


def test_box_follows_the_rule():
    assert face_boxes(pose_of(BOUNDS), W, H).tolist() == [plain_box(b) for b in BOUNDS]


@pytest.mark.parametrize("wrong", ["area", "centred", "rounded"])
def test_a_wrong_rule_is_noticed(wrong):
    assert face_boxes(pose_of(BOUNDS), W, H).tolist() != [plain_box(b, wrong) for b in BOUNDS]


def test_crop_is_stretched_to_512():
    picture = np.random.default_rng(1).integers(0, 256, (2, H, W, 3), dtype=np.uint8)
    faces = FaceFrames(TensorFrames(torch.from_numpy(picture), Fraction(24)), pose_of(BOUNDS[:2]))
    for i in range(2):
        x1, y1, x2, y2 = plain_box(BOUNDS[i])
        wanted = cv2.resize(picture[i, y1:y2, x1:x2], (512, 512), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(faces.read(i, i + 1)[0].numpy(), wanted)


def test_the_box_scales_with_the_frames():
    twice = face_boxes(pose_of(BOUNDS[:1]), 2 * W, 2 * H)[0]
    wanted = face_boxes(pose_of([tuple(2 * v for v in BOUNDS[0])], size=(2 * W, 2 * H)), 2 * W, 2 * H)[0]
    assert np.abs(twice - wanted).max() <= 1


@pytest.mark.parametrize("gone", [(100, 80, 160, 150, 0.1), (-300, 80, -240, 150, 0.9), (100, 355, 160, 440, 0.9)])
def test_an_unseen_or_off_screen_face_takes_its_neighbours_place(gone):
    seen = [(100, 80, 160, 150), (180, 100, 240, 190)]
    bounds = [seen[0], seen[0], gone[:4], gone[:4], gone[:4], seen[1], gone[:4]]
    scores = [0.9, 0.9, *[gone[4]] * 3, 0.9, gone[4]]
    boxes = face_boxes(pose_of(bounds, scores), W, H)
    assert boxes[0].tolist() == plain_box(seen[0])
    assert boxes[5].tolist() == boxes[6].tolist() == plain_box(seen[1])
    assert (np.diff(boxes[1:6, 0]) >= 19).all()  # 80 pixels in four even steps
    np.testing.assert_allclose(boxes[3], (boxes[1] + boxes[5]) / 2, atol=1)


@pytest.mark.parametrize(
    "pose",
    [
        pose_of([(100, 80, 160, 150)] * 3, [0.1] * 3),
        pose_of([(-300, 80, -240, 150)] * 3),
        pose_of([(100, 80, 100, 80)] * 3),
    ],
    ids=["unseen", "off screen", "no size"],
)
def test_a_face_never_seen_is_refused(pose):
    with pytest.raises(MotionError, match=r"^\[no_face\] no face was seen in any of the 3 frames"):
        face_boxes(pose, W, H, 0.2)


def test_smoothing_steadies_the_crop_and_keeps_its_way():
    rng = np.random.default_rng(3)
    n = 96
    way = np.linspace(100, 400, n)
    tremble = rng.normal(0, 3, (n, 2))
    pose = pose_of([(x + a, 100 + b, x + a + 60, 100 + b + 80) for x, (a, b) in zip(way, tremble, strict=True)])
    raw, smooth = (face_boxes(pose, W, H, seconds) for seconds in (0.0, 0.2))
    ideal = face_boxes(pose_of([(x, 100, x + 60, 180) for x in way]), W, H)
    raw_error, error = (np.abs(np.diff(b - ideal, axis=0)).mean() for b in (raw, smooth))
    assert error < raw_error / 3
    assert np.abs((smooth - ideal)[8:-8]).max() < 5  # neither late nor early
    still = pose_of([(100, 80, 160, 150)] * 10)
    np.testing.assert_allclose(face_boxes(still, W, H, 0.5), face_boxes(still, W, H), atol=1)


def test_a_single_frame_and_a_tiny_face():
    assert face_boxes(pose_of(BOUNDS[:1]), W, H, 1.0).tolist() == [plain_box(BOUNDS[0])]
    x1, y1, x2, y2 = face_boxes(pose_of([(10.2, 10.2, 11.4, 11.4)]), W, H, 0.2)[0]
    assert x2 > x1
    assert y2 > y1


class CountedFrames(Frames):
    def __init__(self, n: int):
        self.num_frames, self.width, self.height, self.fps = n, W, H, Fraction(24)
        self.reads: list[tuple[int, int]] = []

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.check_range(start, stop)
        self.reads.append((start, stop))
        return torch.full((stop - start, H, W, 3), 7, dtype=torch.uint8)


def test_only_the_frames_asked_for_are_read_a_few_at_a_time():
    source = CountedFrames(120)
    faces = FaceFrames(source, pose_of([BOUNDS[0]] * 120), 0.2)
    assert source.reads == []
    assert tuple(faces.read(30, 70).shape) == (40, 512, 512, 3)
    assert max(stop - start for start, stop in source.reads) <= 16
    assert (source.reads[0][0], source.reads[-1][1]) == (30, 70)
    with pytest.raises(IndexError):
        faces.read(100, 121)


def test_a_pose_of_another_video_is_refused():
    with pytest.raises(ValueError, match="3 frames and the video 5"):
        FaceFrames(CountedFrames(5), pose_of([BOUNDS[0]] * 3))
