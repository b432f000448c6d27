"""The linear fit against numpy's least squares and against a scale and offset that were put in."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.mimicmotion.fit import fit, linear_fit
from custom_nodes.comfy_motion.mimicmotion.people import DWPoses, FramePeople

COUNTED = [0, 1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]


def people(rng, count: int = 1, score: float = 0.9) -> FramePeople:
    return FramePeople(rng.uniform(0.1, 0.9, (count, 134, 2)), np.full((count, 134), score))


def video(frames: list[FramePeople], width: int = 1280, height: int = 720) -> DWPoses:
    return DWPoses(frames, width, height, Fraction(24))


def picture(person: FramePeople) -> DWPoses:
    return DWPoses([person], 576, 1024, Fraction(1))


def dance(seed: int = 0, frames: int = 12) -> list[FramePeople]:
    rng = np.random.default_rng(seed)
    return [people(rng) for _ in range(frames)]


def test_a_known_scale_and_offset_are_recovered():
    """The reference is the driving person, who stands still, moved: y by 0.5 y + 0.3; x as the aspects demand."""
    person = dance(frames=1)[0]
    ratio = (1280 / 720) * (1024 / 576)
    scale, offset = np.array([0.5 * ratio, 0.5]), np.array([-0.2, 0.3])
    target = FramePeople(person.points * scale + offset, person.scores)
    found_scale, found_offset = linear_fit(video([person] * 5), picture(target))
    np.testing.assert_allclose(found_scale, scale, rtol=1e-12)
    np.testing.assert_allclose(found_offset, offset, atol=1e-12)


def test_pixels_stay_square():
    """The fit moves shapes without stretching them: as many pixels of the picture for a pixel of the video each way."""
    (x, y), _ = linear_fit(video(dance()), picture(dance(1)[0]))
    assert x * 576 / 1280 == pytest.approx(y * 1024 / 720)


def test_the_fit_is_the_least_squares_of_all_frames():
    frames, target = dance(2), dance(3)[0]
    driving = np.concatenate([frame.points[0, COUNTED] for frame in frames])
    wanted = np.tile(target.points[0, COUNTED], (len(frames), 1))
    rows = np.stack([driving[:, 1], np.ones(len(driving))], axis=1)
    (a, b), *_ = np.linalg.lstsq(rows, wanted[:, 1], rcond=None)
    a_x = a * (1280 / 720) * (1024 / 576)
    scale, offset = linear_fit(video(frames), picture(target))
    np.testing.assert_allclose(scale, (a_x, a), rtol=1e-9)
    np.testing.assert_allclose(offset, ((wanted[:, 0] - a_x * driving[:, 0]).mean(), b), rtol=1e-9)


def test_driving_scores_do_not_count():
    frames, target = dance(4), picture(dance(5)[0])
    unsure = [dataclasses.replace(frame, scores=frame.scores * (i % 2)) for i, frame in enumerate(frames)]
    assert linear_fit(video(frames), target) == linear_fit(video(unsure), target)


def test_only_points_the_reference_shows_count():
    frames, target = dance(6), dance(7)[0]
    base = linear_fit(video(frames), picture(target))
    for point in range(134):
        scores = target.scores.copy()
        scores[0, point] = 0.3
        changed = linear_fit(video(frames), picture(dataclasses.replace(target, scores=scores))) != base
        assert changed == (point in COUNTED), point


def test_frames_with_two_people_do_not_count_but_are_moved():
    frames, target = dance(8), picture(dance(9)[0])
    crowd = people(np.random.default_rng(99), 2)
    mixed = video([frames[0], crowd, *frames[1:]])
    assert linear_fit(mixed, target) == linear_fit(video(frames), target)
    scale, offset = linear_fit(mixed, target)
    np.testing.assert_allclose(fit(mixed, target).frames[1].points, crowd.points * scale + offset)


def test_a_frame_without_anybody_counts_as_one_person():
    """Fact 12: there is always somebody; the published fit counts such frames like the others."""
    frames, target = dance(10), picture(dance(11)[0])
    empty = [dataclasses.replace(frames[0], found=False), *frames[1:]]
    assert linear_fit(video(empty), target) == linear_fit(video(frames), target)
    assert fit(video(empty), target).num_found == len(frames) - 1


def test_where_nobody_is_ever_alone_the_surest_counts():
    rng = np.random.default_rng(12)
    pairs, target = [people(rng, 2) for _ in range(4)], picture(dance(13)[0])
    first = [FramePeople(frame.points[:1], frame.scores[:1]) for frame in pairs]
    assert linear_fit(video(pairs), target) == linear_fit(video(first), target)


def test_the_first_person_of_the_reference_counts():
    rng = np.random.default_rng(14)
    two = people(rng, 2)
    one = FramePeople(two.points[:1], two.scores[:1])
    assert linear_fit(video(dance()), picture(two)) == linear_fit(video(dance()), picture(one))


def test_everything_of_everybody_is_moved_and_scores_stay():
    frames, target = dance(15), picture(dance(16)[0])
    moved = fit(video(frames), target)
    scale, offset = linear_fit(video(frames), target)
    assert (moved.width, moved.height, moved.fps, moved.num_frames) == (576, 1024, 24, 12)
    for before, after in zip(frames, moved.frames, strict=True):
        np.testing.assert_allclose(after.points, before.points * scale + offset)
        np.testing.assert_array_equal(after.scores, before.scores)
    other = fit(video(frames), target, 320, 320)
    assert (other.width, other.height) == (320, 320)
    assert linear_fit(video(frames), target, 320, 320)[0][0] == pytest.approx(scale[1] * 1280 / 720)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"found": False}, r"^\[no_person\] In the reference picture"),
        ({"scores": np.zeros((1, 134))}, r"^\[no_person\] In the reference picture 0 of the body's 14 points"),
    ],
)
def test_a_reference_without_a_person_is_refused(change, message):
    with pytest.raises(MotionError, match=message):
        linear_fit(video(dance()), picture(dataclasses.replace(dance(1)[0], **change)))


def test_a_driving_video_of_one_line_is_refused():
    flat = FramePeople(np.full((1, 134, 2), 0.5), np.ones((1, 134)))
    with pytest.raises(MotionError, match=r"^\[no_person\] All points of the driving video"):
        linear_fit(video([flat, flat]), picture(dance(1)[0]))
