"""From video to Pose through real onnxruntime sessions of the tiny detectors."""

from fractions import Fraction

import numpy as np
import onnxruntime
import pytest
import torch

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.pose.detect import CHUNK, detect_pose
from custom_nodes.comfy_motion.pose.draw import PoseFrames
from custom_nodes.comfy_motion.pose.face import FaceFrames
from custom_nodes.comfy_motion.pose.keypoints import body
from custom_nodes.comfy_motion.pose.models import PoseModels
from custom_nodes.comfy_motion.video.frames import Frames, TensorFrames
from demo.tiny_detectors import standing_pose, write_tiny_detectors

W, H = 320, 180


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("detection")


def models_for(folder, **how) -> PoseModels:
    return PoseModels(*write_tiny_detectors(folder, prefix="".join(f"{k}{v}" for k, v in how.items()), **how), "cpu")


class NoiseFrames(Frames):
    """Noise of slowly changing brightness; `empty` frames are grey. Counts how much is read at a time."""

    def __init__(self, n: int, empty: tuple = ()):
        self.num_frames, self.width, self.height, self.fps, self.empty = n, W, H, Fraction(24000, 1001), empty
        self.largest = self.total = 0

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.check_range(start, stop)
        self.largest, self.total = max(self.largest, stop - start), self.total + stop - start
        return torch.stack([self.frame(i) for i in range(start, stop)])

    def frame(self, i: int) -> torch.Tensor:
        if i in self.empty:
            return torch.full((H, W, 3), 128, dtype=torch.uint8)
        noise = torch.from_numpy(np.random.default_rng(i).integers(0, 120, (H, W, 3), dtype=np.uint8))
        return noise + 4 * (i % 30)


def test_a_person_stands_where_the_detectors_say(folder):
    pose = detect_pose(NoiseFrames(3), models_for(folder))
    assert (pose.width, pose.height, pose.fps, pose.num_frames) == (W, H, Fraction(24000, 1001), 3)
    np.testing.assert_array_equal(pose.boxes[:, :4], [[112, 19, 208, 170]] * 3)  # 19.8 + 151.2, both truncated
    # The table's pose is a pose in the 3:4 crop of 1.25 times the box: going back must give its places.
    places, _ = standing_pose()
    size = np.array([0.75, 1]) * 151 * 1.25
    wanted = (160, 94.5) + (places - 0.5) * size
    assert np.abs(pose.points[0] - wanted).max() < 0.03 * size[1]  # they sway a little
    assert ((pose.scores > 0.7) & (pose.scores < 1)).all()
    points, _ = body(pose)
    head_to_toe = points[0, [0, 1, 8, 9, 10, 19], 1]
    assert (np.diff(head_to_toe) > 0).all()
    assert (np.abs(np.diff(pose.points, axis=0)).max(axis=(1, 2)) > 0).all()  # brightness moves the pose


def test_of_five_people_the_largest_or_the_one_under_the_point(folder):
    models = models_for(folder, people=5)
    assert detect_pose(NoiseFrames(2), models).boxes[1, 0] == 112
    second = detect_pose(NoiseFrames(2), models, point=(0.2, 0.5))
    assert second.boxes[1, 0] == int(0.12 * W)
    assert 0.1 < second.points[..., 0].mean() / W < 0.3


def test_frames_without_anybody_use_the_whole_picture(folder):
    pose = detect_pose(NoiseFrames(4, empty=(1,)), models_for(folder))
    np.testing.assert_array_equal(pose.boxes[1], [0, 0, W, H, -1])
    assert (pose.boxes[[0, 2, 3], 4] > 0).all()
    heights = np.ptp(pose.points[..., 1], axis=1)
    assert heights[1] > 1.3 * heights[0]  # the crop was 320 px wide, not 113
    assert FaceFrames(NoiseFrames(4), pose).read(0, 4).shape == (4, 512, 512, 3)


def test_nobody_is_refused_before_the_pose_model_is_opened(folder):
    models = models_for(folder)
    with pytest.raises(MotionError, match=r"^\[no_person\]"):
        detect_pose(NoiseFrames(5, empty=tuple(range(5))), models)
    assert models.pose._session is None
    with pytest.raises(MotionError, match=r"^\[no_person\]"):
        detect_pose(NoiseFrames(2), models_for(folder, people=0))


def test_a_face_never_seen_is_refused(folder):
    frames = NoiseFrames(3)
    pose = detect_pose(frames, models_for(folder, face=False))
    with pytest.raises(MotionError, match=r"^\[no_face\]"):
        FaceFrames(frames, pose, 0.2)
    assert PoseFrames(pose, W, H).read(0, 1).any()  # the body is still there


def test_memory_is_bounded_and_progress_counts_up(folder):
    frames = NoiseFrames(5 * CHUNK + 3)
    seen = []
    detect_pose(frames, models_for(folder), progress=lambda done, total: seen.append((done, total)))
    assert frames.largest <= 16
    assert frames.total == 2 * frames.num_frames
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (2 * frames.num_frames,) * 2
    assert len(seen) >= 6


def test_progress_can_stop_the_work(folder):
    frames = NoiseFrames(40)

    def cancel(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        detect_pose(frames, models_for(folder), progress=cancel)
    assert frames.total == CHUNK


def test_batches_do_not_change_the_result(folder):
    models = models_for(folder)
    frames = NoiseFrames(CHUNK + 2)
    together = detect_pose(frames, models)
    for i in (0, CHUNK - 1, CHUNK + 1):
        alone = detect_pose(TensorFrames(frames.read(i, i + 1)), models)
        np.testing.assert_allclose(alone.points[0], together.points[i], atol=1e-3)


def test_tiny_detectors_are_the_same_every_time_and_small(tmp_path):
    first, again = write_tiny_detectors(tmp_path / "a"), write_tiny_detectors(tmp_path / "b")
    assert [p.name for p in first] == ["yolov10m.onnx", "vitpose_h_wholebody_model.onnx"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    assert sum(p.stat().st_size for p in first) < 2_000_000
    with pytest.raises(ValueError, match="0 to 5"):
        write_tiny_detectors(tmp_path, people=6)


def test_tiny_detectors_have_the_true_names_shapes_and_types(tmp_path):
    found = []
    for path in write_tiny_detectors(tmp_path):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found += [(v.name, v.shape, v.type) for v in (*session.get_inputs(), *session.get_outputs())]
    assert found == [
        ("images", [1, 3, 640, 640], "tensor(float)"),
        ("output0", [1, 300, 6], "tensor(float)"),
        ("input_0", ["batch", 3, 256, 192], "tensor(float)"),
        ("output_0", ["batch", 133, 64, 48], "tensor(float)"),
    ]
