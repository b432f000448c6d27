"""Retargeting: properties on people made of bones of known length."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_nodes.comfy_motion.pose.draw import LIMBS
from custom_nodes.comfy_motion.pose.keypoints import Pose, body
from custom_nodes.comfy_motion.pose.retarget import bone_lengths, bone_ratios, retarget

AVERAGE = {"shoulder": 40, "upper arm": 60, "forearm": 50, "torso": 110, "hip": 22, "thigh": 80, "shin": 75, "foot": 22}
AVERAGE |= {"neck": 45, "head": 1.0, "hand": 1.0}


def person(bones: dict | None = None, angles: np.ndarray | None = None, at=(320, 150), size=(640, 480)) -> Pose:
    """Frames of a person of these bone lengths (pixels); `angles` float [F, 8] bends arms and legs (radians)."""
    b = AVERAGE | (bones or {})
    angles = np.zeros((1, 8)) if angles is None else angles
    points = np.zeros((len(angles), 133, 2))
    rng = np.random.default_rng(0)
    face = rng.uniform(-12, 12, (68, 2))
    for p, turn in zip(points, angles, strict=True):

        def hang(start, length, angle):
            return start + length * np.array([np.sin(angle), np.cos(angle)])

        neck = np.array(at, float)
        hips = neck + np.array([0, b["torso"]])
        p[0] = neck - (0, b["neck"])
        p[1:5] = p[0] + b["head"] * np.array([[6, -6], [-6, -6], [14, -2], [-14, -2]])
        p[23:91] = p[0] + b["head"] * face
        for side, sign in ((0, 1), (1, -1)):
            a = turn[side * 4 : side * 4 + 4]
            p[5 + side] = neck + np.array([sign * b["shoulder"], 0])
            p[11 + side] = hips + np.array([sign * b["hip"], 0])
            p[7 + side] = hang(p[5 + side], b["upper arm"], a[0])
            p[9 + side] = hang(p[7 + side], b["forearm"], a[1])
            p[13 + side] = hang(p[11 + side], b["thigh"], a[2])
            p[15 + side] = hang(p[13 + side], b["shin"], a[3])
            toes = p[15 + side] + b["foot"] * np.array([[0.8, 0.6], [1.0, 0.0], [-0.6, 0.8]]) * (sign, 1)
            p[17 + 3 * side : 20 + 3 * side] = toes
            fingers = np.array([[i % 4 * 4, 4 * (i % 5)] for i in range(21)]) * b["hand"]
            p[91 + 21 * side : 112 + 21 * side] = p[9 + side] + fingers
    scores = np.full((len(points), 133), 0.9, np.float32)
    return Pose(points.astype(np.float32), scores, np.zeros((len(points), 5), np.float32), *size, Fraction(24))


def replaced(pose: Pose, **more) -> Pose:
    return Pose(**({name: getattr(pose, name) for name in pose.__dataclass_fields__} | more))


ANGLES = np.random.default_rng(5).uniform(-0.8, 0.8, (30, 8))
LONG_LEGS = {
    "thigh": 110,
    "shin": 100,
    "shoulder": 30,
    "upper arm": 80,
    "forearm": 40,
    "neck": 60,
    "foot": 30,
    "hip": 30,
}


def test_the_driving_person_as_reference_changes_nothing():
    pose = person(angles=ANGLES)
    result = retarget(pose, pose)
    np.testing.assert_array_equal(result.points, pose.points)
    assert result.retargeted


@settings(max_examples=30, deadline=None)
@given(size=st.floats(0.3, 3.0), x=st.floats(0, 600), y=st.floats(0, 400))
def test_size_and_place_of_the_reference_do_not_matter(size, x, y):
    same = person({k: v * size for k, v in AVERAGE.items()}, at=(x, y))
    pose = person(angles=ANGLES[:3])
    np.testing.assert_allclose(retarget(pose, same).points, pose.points, atol=0.01)


kinds = [k for k in AVERAGE if k not in ("torso", "head", "hand")]


@settings(max_examples=30, deadline=None)
@given(factors=st.lists(st.floats(0.6, 1.7), min_size=len(kinds), max_size=len(kinds)), size=st.floats(0.5, 2))
def test_every_limb_reaches_the_references_proportion(factors, size):
    bones = {kind: AVERAGE[kind] * f for kind, f in zip(kinds, factors, strict=True)}
    reference = person({k: v * size for k, v in (AVERAGE | bones).items()}, ANGLES[3:4])
    result = retarget(person(angles=ANGLES), reference)
    lengths = bone_lengths(result)
    for kind, length in bones.items():
        assert lengths[kind] == pytest.approx(length, rel=1e-3)
    assert lengths["torso"] == pytest.approx(AVERAGE["torso"], rel=1e-3)  # the unit stays


def test_limbs_keep_their_direction_and_hang_together():
    pose = person(angles=ANGLES)
    result = retarget(pose, person(LONG_LEGS))
    before, after = body(pose)[0], body(result)[0]
    for a, b in LIMBS[2:6] + LIMBS[7:9] + LIMBS[10:12]:  # arms and legs
        old, new = before[:, b] - before[:, a], after[:, b] - after[:, a]
        cosine = (old * new).sum(1) / np.linalg.norm(old, axis=1) / np.linalg.norm(new, axis=1)
        np.testing.assert_allclose(cosine, 1, atol=1e-5)


def test_feet_keep_the_ground_and_hips_their_column():
    pose = person(angles=ANGLES)
    result = retarget(pose, person(LONG_LEGS))
    ground = [p.points[:, [15, 16], 1].max(axis=1) for p in (pose, result)]
    np.testing.assert_allclose(*ground, atol=1e-3)
    columns = [p.points[:, [11, 12], 0].mean(axis=1) for p in (pose, result)]
    np.testing.assert_allclose(*columns, atol=1e-3)
    assert (result.points[:, 11, 1] < pose.points[:, 11, 1]).all()  # longer legs lift the hips


def test_without_feet_in_sight_neck_and_hips_stay():
    pose = person(angles=ANGLES)
    scores = pose.scores.copy()
    scores[:, 13:23] = 0.1
    result = retarget(replaced(pose, scores=scores), person(LONG_LEGS))
    for middle in ([5, 6], [11, 12]):
        before, after = (p.points[:, middle].mean(axis=1) for p in (pose, result))
        np.testing.assert_allclose(before, after, atol=1e-3)


def test_hands_and_face_follow_wrist_and_nose():
    pose = person(angles=ANGLES[:4])
    result = retarget(pose, person(LONG_LEGS | {"head": 1.5, "hand": 0.7}))
    for root, parts, size in ((9, slice(91, 112), 0.7), (10, slice(112, 133), 0.7), (0, slice(23, 91), 1.5)):
        before, after = (p.points[:, parts] - p.points[:, root : root + 1] for p in (pose, result))
        np.testing.assert_allclose(after, before * size, atol=0.01)


def test_scores_are_kept_and_unseen_points_left_alone():
    pose = person(angles=ANGLES)
    rng = np.random.default_rng(2)
    scores = np.where(rng.random(pose.scores.shape) < 0.25, 0.49, 0.9).astype(np.float32)
    scores[7] = 0.1
    pose = replaced(pose, scores=scores)
    result = retarget(pose, person(LONG_LEGS))
    np.testing.assert_array_equal(result.scores, scores)
    np.testing.assert_array_equal(result.points[scores < 0.5], pose.points[scores < 0.5])
    assert (result.points[scores >= 0.5] != pose.points[scores >= 0.5]).any()
    assert (result.width, result.height, result.fps) == (pose.width, pose.height, pose.fps)


def test_past_an_unseen_joint_the_rest_moves_along_unstretched():
    pose = person(angles=ANGLES[:2])
    scores = pose.scores.copy()
    scores[1, 7], scores[:, 13:23] = 0.1, 0.1  # one elbow in one frame; no feet, so that nothing is put on the ground
    result = retarget(replaced(pose, scores=scores), person(LONG_LEGS))
    shoulder, wrist = (result.points[1, i] - pose.points[1, i] for i in (5, 9))
    assert np.abs(shoulder).max() > 1
    np.testing.assert_allclose(wrist, shoulder, atol=1e-3)


def test_bones_the_reference_does_not_show_keep_their_length():
    reference = person(LONG_LEGS)
    scores = reference.scores.copy()
    scores[:, 13:23] = 0.2  # a picture that ends at the hips
    ratios = bone_ratios(bone_lengths(person()), bone_lengths(replaced(reference, scores=scores)))
    assert ratios["thigh"] == ratios["shin"] == ratios["foot"] == 1
    assert ratios["upper arm"] == pytest.approx(80 / 60)


def test_shoulders_are_the_unit_when_hips_are_out_of_sight():
    reference = person({k: v * 2 for k, v in AVERAGE.items()} | {"forearm": 150})
    scores = reference.scores.copy()
    scores[:, 11:23] = 0.2
    ratios = bone_ratios(bone_lengths(person()), bone_lengths(replaced(reference, scores=scores)))
    assert ratios["forearm"] == pytest.approx(1.5)
    assert ratios["shoulder"] == ratios["upper arm"] == pytest.approx(1)


def test_nothing_in_common_changes_nothing(caplog):
    pose = person(angles=ANGLES[:2])
    nobody = replaced(pose, scores=pose.scores * 0)
    np.testing.assert_array_equal(retarget(pose, nobody).points, pose.points)
    assert "not seen in both" in caplog.text
    assert np.isfinite(retarget(nobody, pose).points).all()


def test_a_misdetected_reference_is_bounded():
    ratios = bone_ratios(bone_lengths(person()), bone_lengths(person({"forearm": 2000, "shin": 1})))
    assert (ratios["forearm"], ratios["shin"]) == (2.5, 0.4)
