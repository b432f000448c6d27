"""YOLOX: letterboxing, decoding and suppression against cases worked out by hand."""

import numpy as np
import pytest

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.mimicmotion.detector import decode, detector_input, people_in, suppressed
from custom_nodes.comfy_motion.mimicmotion.models import DWPoseModels
from demo.tiny_detectors import write_tiny_detectors
from demo.tiny_dwpose import write_tiny_dwpose


def row_of(stride: int, column: int, row: int) -> int:
    """Where YOLOX puts a grid cell: 80x80 cells of stride 8, then 40x40 of 16, then 20x20 of 32."""
    return {8: 0, 16: 6400, 32: 8000}[stride] + row * (640 // stride) + column


def rows_with(*people) -> np.ndarray:
    """YOLOX's output with people of (x1, y1, x2, y2, objectness, class score, class) in letterboxed pixels."""
    rows = np.zeros((8400, 85), dtype=np.float32)
    for i, (x1, y1, x2, y2, certain, score, kind) in enumerate(people):
        stride, column, row = (8, 16, 32)[i % 3], 3 + i, 5
        cell = rows[row_of(stride, column, row)]
        cell[:2] = (x1 + x2) / 2 / stride - column, (y1 + y2) / 2 / stride - row
        cell[2:4] = np.log((x2 - x1) / stride), np.log((y2 - y1) / stride)
        cell[4], cell[5 + kind] = certain, score
    return rows


@pytest.mark.parametrize(
    ("width", "height", "inner", "scale"),
    [
        (1280, 720, (640, 360), 0.5),
        (720, 1280, (360, 640), 0.5),
        (333, 1000, (213, 640), 0.64),  # 213.12
        (100, 30, (640, 192), 6.4),  # enlarged
        (1000, 999, (640, 639), 0.64),  # 639.36
        (641, 3, (640, 2), 640 / 641),  # 2.995: truncated, not rounded
        (3, 641, (2, 640), 640 / 641),
    ],
)
def test_letterbox_is_top_left_grey_and_truncated(width, height, inner, scale):
    values, used = detector_input(np.full((height, width, 3), (200, 100, 50), dtype=np.uint8))
    assert used == pytest.approx(scale, abs=1e-12)
    assert (values.dtype, values.shape) == (np.float32, (3, 640, 640))
    w, h = inner
    for channel, value in enumerate((200, 100, 50)):  # RGB, not normalised
        assert (values[channel, :h, :w] == value).all()
        assert (values[channel, h:] == 114).all()
        assert (values[channel, :, w:] == 114).all()


def test_letterbox_interpolates_linearly_without_antialiasing():
    picture = np.zeros((1280, 1280, 3), dtype=np.uint8)
    picture[::2] = 100  # halved: each row is the mean of two
    assert (detector_input(picture)[0] == 50).all()
    picture = np.zeros((2560, 2560, 3), dtype=np.uint8)
    picture[::4] = 100  # a quarter: rows 1 and 2 of each four are read, row 0 is not
    assert (detector_input(picture)[0] == 0).all()


@pytest.mark.parametrize(
    ("stride", "column", "row", "box"),
    [
        # (column + 0.5) * stride = centre; exp(log 2) * stride = 2 strides wide, exp(0) = one high
        (8, 10, 4, (76.0, 32.0, 92.0, 40.0)),
        (16, 0, 39, (-8.0, 624.0, 24.0, 640.0)),
        (32, 19, 19, (592.0, 608.0, 656.0, 640.0)),
    ],
)
def test_decoding_one_cell(stride, column, row, box):
    rows = np.zeros((8400, 85), dtype=np.float32)
    at = row_of(stride, column, row)
    rows[at, :6] = 0.5, 0.5, np.log(2), 0, 0.5, 0.5
    boxes, scores = decode(rows)
    np.testing.assert_allclose(boxes[at], box, atol=1e-4)
    assert scores[at, 0] == 0.25


def test_people_are_class_0_above_the_threshold_best_first():
    rows = rows_with(
        (10, 20, 110, 220, 0.5, 0.62, 0),  # 0.31
        (300, 20, 400, 220, 1.0, 0.29, 0),  # too unsure
        (300, 300, 400, 500, 0.9, 1.0, 2),  # a car
        (500, 20, 600, 220, 1.0, 0.8, 0),
    )
    people = people_in(rows, 0.5)
    assert people.dtype == np.float64
    np.testing.assert_allclose(people, [(1000, 40, 1200, 440), (20, 40, 220, 440)], atol=1e-2)
    assert people_in(rows_with(), 1.0).shape == (0, 4)


def test_a_car_deletes_nobody_and_an_overlapping_person_does():
    person, car = (0, 0, 100, 100, 1.0, 0.6, 0), (0, 0, 100, 100, 1.0, 0.9, 2)
    double = (0, 0, 100, 90, 1.0, 0.5, 0)
    assert len(people_in(rows_with(person, car, double), 1.0)) == 1


def test_suppression_counts_pixels_inclusive():
    """Boxes of 10 x 10 pixels (0..9) and of 10 x 1: with + 1 in the areas their overlap is 10 * n / 100."""
    box = [0, 0, 9, 9]
    # 10 of 55: rows 5..9 and on, common 10*5, union 100 + 100 - 50 = 150: 0.333 stays.
    half = [0, 5, 9, 14]
    # Shifted by 4: common 60, union 140: 0.4286 stays with + 1; without it 45/117 = 0.385.
    # Shifted by 3: common 70, union 130: 0.538 goes.
    assert suppressed(np.float32([box, half]), np.float32([0.9, 0.8])) == [0, 1]
    assert suppressed(np.float32([box, [0, 3, 9, 12]]), np.float32([0.9, 0.8])) == [0]
    assert suppressed(np.float32([box, [0, 3, 9, 12]]), np.float32([0.4, 0.8])) == [1]
    # 2 x 2 pixels inclusive against 3 x 3 around them: 9/16 counted inclusive (corners 0..3 and 0..2), 4/9 without.
    assert suppressed(np.float32([[0, 0, 3, 3], [0, 0, 2, 2]]), np.float32([0.9, 0.8])) == [0]
    # Exactly at 0.45 a box stays: 9 of 20 pixels.
    assert suppressed(np.float32([[0, 0, 19, 0], [0, 0, 8, 0]]), np.float32([0.9, 0.8])) == [0, 1]


def test_the_deleted_delete_nobody():
    chain = np.float32([[0, 0, 9, 99], [3, 0, 12, 99], [6, 0, 15, 99]])
    assert suppressed(chain, np.float32([0.9, 0.8, 0.7])) == [0, 2]


def test_files_of_the_wrong_kind_are_named(tmp_path):
    detector, pose = write_tiny_dwpose(tmp_path)
    other_detector, other_pose = write_tiny_detectors(tmp_path)
    pictures, crops = np.zeros((1, 3, 640, 640), np.float32), np.zeros((1, 3, 384, 288), np.float32)
    swapped = DWPoseModels(pose, detector, "cpu")
    with pytest.raises(MotionError, match=r"^\[model_file\] dw-ll.* is a DWPose model .*not a YOLOX .*yolox_l.onnx"):
        swapped.detector.run(pictures)
    with pytest.raises(MotionError, match=r"^\[model_file\] yolox_l.onnx is a YOLOX detector .*dw-ll_ucoco_384"):
        swapped.pose.run(crops)
    wan = DWPoseModels(other_detector, other_pose, "cpu")
    with pytest.raises(MotionError, match=r"yolov10m.onnx is a detector, but none of YOLOX's"):
        wan.detector.run(pictures)
    with pytest.raises(MotionError, match=r"is a pose model for 192x256 pictures"):
        wan.pose.run(crops)
    right = DWPoseModels(detector, pose, "cpu")
    assert right.detector.run(pictures).shape == (1, 8400, 85)
    assert [bins.shape for bins in right.pose.run_all(crops)] == [(1, 133, 576), (1, 133, 768)]
