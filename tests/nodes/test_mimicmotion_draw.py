"""DWPose's drawing against a slow second one and against golden pictures, pixel for pixel; wrong rules must differ."""

import cv2
import numpy as np
import pytest

from custom_nodes.comfy_motion.mimicmotion.draw import DWPoseFrames, canvas_size
from custom_nodes.comfy_motion.mimicmotion.people import FramePeople

from .dwpose_drawing import GOLDEN, GOLDENS, plain_drawing, poses_of, random_people

SIZES = [(576, 1024), (1024, 576), (256, 448), (333, 257), (2160, 2300), (2400, 2500)]
WRONG = """rounded; long side; 19 sticks; threshold; stick; smaller score; not dimmed; dimmed late; person by person;
faces first; antialiased; not swapped; edge; full hands; hue; black left out; face disc"""


def drawn(frames: list[FramePeople], width: int, height: int) -> np.ndarray:
    return DWPoseFrames(poses_of(frames, width, height), width, height).read(0, len(frames)).numpy()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_drawing_follows_the_rules_pixel_for_pixel(width, height):
    frames = [random_people(seed, people) for seed, people in ((10, 1), (11, 2), (12, 3))]
    for picture, people in zip(drawn(frames, width, height), frames, strict=True):
        np.testing.assert_array_equal(picture, plain_drawing(people, width, height))


@pytest.mark.parametrize("wrong", [name.strip() for name in WRONG.split(";")])
def test_a_wrong_rule_is_noticed(wrong):
    frames = [random_people(seed, 3) for seed in range(2)]
    pictures = drawn(frames, 720, 800)
    differ = [(picture != plain_drawing(f, 720, 800, wrong)).any() for picture, f in zip(pictures, frames, strict=True)]
    assert any(differ)


@pytest.mark.parametrize("name", GOLDENS)
def test_golden_pictures(name):
    width, height, people, seed = GOLDENS[name]
    golden = cv2.imread(str(GOLDEN / f"{name}.png"))
    assert golden is not None
    assert golden.any()
    np.testing.assert_array_equal(drawn([random_people(seed, people)], width, height)[0], golden[..., ::-1])


def alone(**points) -> FramePeople:
    """One person of whom only some points are there: name_index=(x, y, score); all others are off the picture."""
    places, scores = np.full((1, 134, 2), -1.0), np.zeros((1, 134))
    for name, (x, y, score) in points.items():
        index = int(name.rsplit("_", 1)[1])
        places[0, index], scores[0, index] = (x, y), score
    return FramePeople(places, scores)


def test_each_part_has_its_colour_and_brightness():
    """At 2160 nothing is resized: colours as written, red and blue changed."""
    frame = alone(
        nose_0=(0.5, 0.25, 0.8),
        neck_1=(0.5, 0.5, 0.5),
        face_24=(0.25, 0.25, 0.5),
        face_25=(0.25, 0.75, 0.0),
        hand_93=(0.75, 0.25, 0.6),
        hand_94=(0.75, 0.5, 0.5),
    )
    picture = drawn([frame], 2160, 2160)[0]
    assert picture[540, 1080].tolist() == [0, 0, 204]  # the nose's red of 255 * 0.8, in blue
    assert picture[1080, 1080].tolist() == [0, 42, 127]
    assert picture[810, 1080].tolist() == [int(int(255 * 0.4) * 0.6), 0, 0]  # the stick's blue, in red
    assert picture[540, 540].tolist() == [127, 127, 127]
    assert picture[540, 1620].tolist() == [153, 0, 0]  # hand points are red
    assert picture[1620, 540].tolist() == [0, 0, 0]
    # The line between hand points 1 and 2, the second of the 20: hue 1/20, 255 * 0.3 = 76, 76 * 0.3 = 23.
    assert picture[810, 1620].tolist() == [0, 23, 76]
    ys, xs = np.nonzero(picture[:800, :800, 0])
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (537, 543, 537, 543)


def test_thresholds_and_the_first_pixels():
    unsure = alone(nose_0=(0.5, 0.25, 0.3), neck_1=(0.5, 0.5, 0.3))
    picture = drawn([unsure], 2160, 2160)[0]
    assert picture[810, 1080].any()  # a stick from 0.3 on
    assert not picture[536:539, 1080].any()  # a joint above it only
    assert not drawn([alone(nose_0=(0.5, 0.25, 0.29), neck_1=(0.5, 0.5, 0.9))], 2160, 2160)[0, 540:1000].any()
    for x, seen in ((0.9, False), (1.0, True), (1.9, True)):
        assert drawn([alone(face_24=(x / 2160, 0.5, 0.9))], 2160, 2160).any() == seen


def test_a_black_point_covers_what_was_drawn_before():
    body = alone(nose_0=(0.5, 0.25, 0.9), neck_1=(0.5, 0.5, 0.9))
    covered = alone(nose_0=(0.5, 0.25, 0.9), neck_1=(0.5, 0.5, 0.9), face_30=(0.5, 0.25, -0.2))
    assert drawn([body], 2160, 2160)[0, 540, 1080].any()
    assert not drawn([covered], 2160, 2160)[0, 540, 1080].any()


def test_canvas():
    assert canvas_size(576, 1024) == (2160, 3840)
    assert canvas_size(1024, 576) == (3840, 2160)
    assert canvas_size(97, 113) == (2160, int(113 * (2160 / 97)))
    assert canvas_size(2160, 3000) == (2160, 3000)


def test_points_of_a_fit_gone_wrong_do_no_harm():
    people = random_people(5, 2)
    people.points[0, ::3] = 1e12
    people.points[1, ::5] = np.nan
    people.points[1, 1::5] = -np.inf
    drawn([people], 64, 64)


def test_reading_by_range_gives_the_same_frames_and_nothing_stays_on_the_canvas():
    frames = DWPoseFrames(poses_of([random_people(seed, 1) for seed in range(5)], 64, 112), 64, 112)
    whole = frames.read(0, 5)
    assert (frames.num_frames, frames.fps, tuple(whole.shape)) == (5, 15, (5, 112, 64, 3))
    np.testing.assert_array_equal(whole[3:5], frames.read(3, 5))
    assert tuple(frames.read(2, 2).shape) == (0, 112, 64, 3)
    with pytest.raises(IndexError):
        frames.read(3, 6)
