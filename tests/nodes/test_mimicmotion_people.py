"""Who is found, whose points go where: the 134 points, frames without anybody, chunks."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.mimicmotion import detect as detecting
from custom_nodes.comfy_motion.mimicmotion.detect import detect
from custom_nodes.comfy_motion.mimicmotion.models import DWPoseModels
from custom_nodes.comfy_motion.mimicmotion.people import arranged
from custom_nodes.comfy_motion.video.frames import Frames, TensorFrames
from demo.tiny_detectors import PEOPLE, standing_pose
from demo.tiny_dwpose import write_tiny_dwpose

# OpenPose's body by COCO's numbers: nose, neck, right arm, left arm, right leg, left leg, eyes, ears.
# fmt: off
NAMES = ["nose", "neck", "rs", "re", "rw", "ls", "le", "lw", "rh", "rk", "ra", "lh", "lk", "la",
         "reye", "leye", "rear", "lear"]
COCO = ["nose", "leye", "reye", "lear", "rear", "ls", "rs", "le", "re", "lw", "rw", "lh", "rh", "lk", "rk", "la", "ra"]
# fmt: on


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detection")
    return {people: write_tiny_dwpose(folder, people, f"{people}-") for people in (0, 1, 3)}


def models(files, people=1) -> DWPoseModels:
    return DWPoseModels(*files[people], device="cpu")


def noise(frames: int, width: int, height: int) -> torch.Tensor:
    rng = np.random.default_rng(frames)
    return torch.from_numpy(rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8))


def test_the_134_points():
    points = np.stack([np.arange(133.0), np.arange(133.0) * 10], axis=-1)[None]
    scores = np.full((1, 133), 0.5)
    scores[0, 20] = 0.25
    new, new_scores = arranged(points, scores)
    assert new.shape == (1, 134, 2)
    for at, name in enumerate(NAMES):
        assert new[0, at].tolist() == ([5.5, 55.0] if name == "neck" else [COCO.index(name), 10 * COCO.index(name)])
    np.testing.assert_array_equal(new[0, 18:, 0], np.arange(17, 133))
    assert new_scores[0, 1] == 1
    assert new_scores[0, 21] == 0.25


@pytest.mark.parametrize(("left", "right", "neck"), [(0.31, 0.9, 1), (0.3, 0.9, 0), (0.9, 0.1, 0)])
def test_the_neck_is_seen_with_both_shoulders(left, right, neck):
    scores = np.zeros((1, 133))
    scores[0, [5, 6]] = left, right
    assert arranged(np.zeros((1, 133, 2)), scores)[1][0, 1] == neck


@pytest.mark.parametrize(("width", "height"), [(180, 320), (320, 180), (700, 900)])
def test_a_person_is_found_where_the_tiny_models_put_one(files, width, height):
    """The tiny pose sways by at most 0.032 of the crop; its crop is 1.25 times the fixed box, widened to 3:4."""
    poses = detect(TensorFrames(noise(1, width, height), Fraction(15)), models(files))
    assert (poses.num_frames, poses.width, poses.height, poses.fps) == (1, width, height, 15)
    frame = poses.frames[0]
    assert frame.found
    x, y, w, h, _ = PEOPLE[0]
    size = np.array([w * width, h * height]) * 1.25
    size = np.array([max(size[0], size[1] * 0.75), max(size[1], size[0] / 0.75)])
    wanted = (standing_pose()[0] - 0.5) * size + np.array([x * width, y * height])
    got = frame.points[0] * (width, height)
    for at, point in ((0, 0), (4, 10), (7, 9), (10, 16), (13, 15), (24, 23), (92, 91), (113, 112)):
        assert np.abs(got[at] - wanted[point]).max() < 0.045 * size.max(), at
    assert (frame.scores[0] > 0.7).all()


def test_several_people_come_best_first_and_keep_their_frames(files):
    pictures = noise(5, 160, 120)
    pictures[2] = 90  # nobody
    poses = detect(TensorFrames(pictures), models(files, 3))
    assert [len(frame) for frame in poses.frames] == [3, 3, 1, 3, 3]
    assert [frame.found for frame in poses.frames] == [True, True, False, True, True]
    assert poses.num_found == 4
    necks = poses.frames[4].points[:, 1, 0]
    assert [round(float(x), 1) for x in necks] == [round(p[0], 1) for p in PEOPLE[:3]]


def test_a_frame_without_anybody_is_one_person_the_size_of_the_picture(files):
    """Flat: all points at -0.5 of a crop that is the picture times 1.25, widened to 3:4."""
    pictures = noise(2, 300, 200)
    pictures[1] = 0
    frame = detect(TensorFrames(pictures), models(files)).frames[1]
    assert (len(frame), frame.found) == (1, False)
    size = np.array([375, 500])  # 300 * 1.25 = 375 wide, 500 high about (150, 100)
    corner = (np.array([150, 100]) - size / 2 - 0.5 * size / (288, 384)) / (300, 200)
    np.testing.assert_allclose(frame.points[0], np.tile(corner, (134, 1)))
    assert not frame.scores.any()


def test_nobody_anywhere_is_refused_and_says_where(files):
    with pytest.raises(MotionError, match=r"^\[no_person\] Nobody was found in the reference picture"):
        detect(TensorFrames(torch.zeros(1, 90, 60, 3, dtype=torch.uint8)), models(files))
    with pytest.raises(MotionError, match=r"^\[no_person\] Nobody .* any of the 3 frames of the driving video"):
        detect(TensorFrames(noise(3, 60, 90)), models(files, 0))


class Watched(Frames):
    """Frames that remember how many were read at once, and how often."""

    def __init__(self, frames: int):
        self.pictures = noise(frames, 64, 64)
        self.num_frames, self.width, self.height, self.fps = frames, 64, 64, Fraction(24)
        self.reads: list[tuple[int, int]] = []

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.reads.append((start, stop))
        return self.pictures[start:stop]


def test_frames_are_read_once_a_few_at_a_time(files):
    frames, told = Watched(19), []
    detect(frames, models(files, 3), lambda done, total: told.append((done, total)))
    assert frames.reads == [(0, 8), (8, 16), (16, 19)]
    assert told == [(8, 19), (16, 19), (19, 19)]


def test_what_is_kept_does_not_depend_on_chunks(files, monkeypatch):
    frames = TensorFrames(noise(7, 90, 120))
    whole = detect(frames, models(files, 3))
    monkeypatch.setattr(detecting, "CHUNK", 3)
    monkeypatch.setattr(detecting, "BATCH", 2)
    for one, other in zip(whole.frames, detect(frames, models(files, 3)).frames, strict=True):
        np.testing.assert_allclose(one.points, other.points, atol=1e-9)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
        assert one.points.base is None or one.points.base.size <= one.points.size  # no view that keeps a chunk alive
