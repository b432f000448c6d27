"""Which boxes are people, and whom to follow."""

import cv2
import numpy as np
import pytest

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.pose.people import choose_boxes, detector_input, largest_person, people_in


def rows(*detections: tuple) -> np.ndarray:
    """Detector rows (x1, y1, x2, y2, score, class) in the detector's 640x640, padded to 300."""
    out = np.zeros((300, 6), np.float32)
    for row, detection in zip(out, detections, strict=False):
        row[:] = detection
    return out


def boxes(*people: tuple) -> np.ndarray:
    return np.array([(*p, 0.9)[:5] for p in people], float).reshape(-1, 5)


def test_boxes_are_stretched_back_and_truncated():
    found = people_in(rows((100.75, 50.5, 201, 300.25, 0.8, 0)), 1280, 720)
    # Left, top and the sides are truncated: 201.5 and 56.8, 200.5 and 280.97. Truncated corners would give 402, 337.
    np.testing.assert_array_equal(found[0, :4], [201, 56, 401, 336])


def test_only_people_count_from_five_percent():
    found = people_in(
        rows(
            (0, 0, 50, 90, 0.9, 2), (100, 0, 150, 90, 0.049, 0), (200, 0, 250, 90, 0.06, 0), (300, 0, 350, 90, 0.7, 0)
        ),
        640,
        640,
    )
    assert found[:, 0].tolist() == [300, 200]  # best score first


def test_another_class_can_delete_a_person():
    horse, rider = (100, 100, 300, 400, 0.9, 17), (105, 100, 300, 395, 0.6, 0)
    assert len(people_in(rows(rider), 640, 640)) == 1
    assert len(people_in(rows(horse, rider), 640, 640)) == 0
    beside = (250, 100, 450, 400, 0.6, 0)  # overlaps less than half
    assert len(people_in(rows(horse, beside), 640, 640)) == 1
    taller = (100, 100, 300, 600, 0.6, 0)  # overlap over union is 0.6
    assert len(people_in(rows(horse, taller), 640, 640)) == 0


def test_an_empty_answer_gives_no_people():
    assert people_in(rows(), 640, 360).shape == (0, 5)


def test_detector_input_is_stretched_rgb():
    picture = np.zeros((36, 128, 3), np.uint8)
    picture[:, 64:, 0] = 255  # red on the right
    got = detector_input(picture)
    assert (got.dtype, got.shape) == (np.float32, (3, 640, 640))
    assert got[0, :, :300].max() == 0
    assert got[0, :, 340:].min() == 1
    assert got[1:].max() == 0  # BGR would put the red last
    assert got[0, 0, 400] == 1  # a letterbox would be black here
    assert got.flags["C_CONTIGUOUS"]
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    wanted = cv2.resize(noise, (640, 640)).astype(np.float64) / 255
    np.testing.assert_array_equal(detector_input(noise), wanted.transpose(2, 0, 1).astype(np.float32))


def test_the_largest_of_five_people():
    people = boxes((0, 0, 50, 90), (60, 0, 150, 200), (200, 0, 320, 300), (330, 0, 400, 250), (500, 0, 520, 40))
    assert largest_person(people) == 2
    assert largest_person(np.zeros((0, 5))) == -1


def test_a_large_square_is_passed_over_beside_a_very_long_one():
    long, square = (0, 0, 1000, 50), (0, 100, 300, 400)  # the square has the larger area but 0.3 of the long side
    assert largest_person(boxes(long, square)) == 0
    assert largest_person(boxes((0, 0, 1000, 50), (0, 100, 400, 500))) == 1  # 0.4 is enough
    # "the longest seen" becomes that of the person chosen last
    assert largest_person(boxes((0, 0, 500, 120), long, square)) == 2
    assert largest_person(boxes(long, (0, 0, 500, 120), square)) == 2
    assert largest_person(boxes(square, long)) == 1


def test_frames_without_anybody_get_the_whole_picture():
    chosen = choose_boxes([boxes(), boxes((10, 10, 50, 90)), boxes()], 640, 360)
    np.testing.assert_array_equal(chosen[[0, 2]], [[0, 0, 640, 360, -1]] * 2)
    np.testing.assert_allclose(chosen[1], [10, 10, 50, 90, 0.9])
    assert chosen.dtype == np.float32


@pytest.mark.parametrize("point", [None, (0.5, 0.5)])
def test_nobody_in_any_frame_is_refused(point):
    with pytest.raises(MotionError, match=r"^\[no_person\].*any of the 3 frames"):
        choose_boxes([boxes()] * 3, 640, 360, point)


def test_the_person_under_a_point_is_followed_by_overlap():
    big = (0, 0, 200, 360)
    small = [(400 + 10 * i, 100, 440 + 10 * i, 200) for i in range(6)]
    people = [boxes(big, s) for s in small]
    people[0] = boxes(big)  # not yet seen: the box stays where it is seen first
    people[3] = boxes(big)  # lost: the box stays where it was seen last
    chosen = choose_boxes(people, 640, 360, point=(0.67, 0.4))  # x = 428.8
    assert chosen[:, 0].tolist() == [410, 410, 420, 420, 440, 450]
    assert (chosen[:, 4] > 0).all()
    # Taking whoever is under the point in each frame would lose the person, who has walked on.
    assert not small[5][0] <= 0.67 * 640 < small[4][0]
    assert choose_boxes(people, 640, 360)[:, 0].tolist() == [0] * 6


def test_of_two_under_the_point_the_surer_one_is_taken():
    both = np.array([[100, 100, 200, 300, 0.9], [0, 0, 400, 360, 0.5]])
    assert choose_boxes([both], 640, 360, (0.2, 0.5))[0, 0] == 100


def test_nobody_under_the_point_is_refused():
    with pytest.raises(MotionError, match=r"^\[no_person\].*0\.9, 0\.1") as refused:
        choose_boxes([boxes((0, 0, 100, 100))] * 2, 640, 360, (0.9, 0.1))
    assert refused.value.code == "no_person"
