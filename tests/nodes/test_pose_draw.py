"""The drawing against a second one, written plainly from the rules, pixel for pixel; wrong rules must differ."""

import colorsys
import math
import zlib
from fractions import Fraction

import cv2
import numpy as np
import pytest

from custom_nodes.comfy_motion.pose.draw import PoseFrames
from custom_nodes.comfy_motion.pose.keypoints import Pose, body, body_fractions

SIZES = [(1280, 720), (208, 416), (2000, 1104), (640, 368)]
# The COCO-WholeBody points whose mean is each point of the body of 20.
BODY = "0 5+6 6 8 10 5 7 9 12 14 16 11 13 15 2 1 4 3 17+18 20+21"
LIMBS = "1-2 1-5 2-3 3-4 5-6 6-7 1-8 8-9 9-10 1-11 11-12 12-13 1-0 0-14 14-16 0-15 15-17 13-18 10-19"
COLOURS = (
    "255,0,0 255,85,0 255,170,0 255,255,0 170,255,0 85,255,0 0,255,0 0,255,85 0,255,170 0,255,255 0,170,255 0,85,255 "
    "0,0,255 85,0,255 170,0,255 255,0,255 255,0,170 255,0,85 200,200,0 100,100,0"
)


def random_pose(seed: int, width: int, height: int, frames: int = 1, **more) -> Pose:
    """Points up to 15 % outside the picture, scores on both sides of the threshold."""
    rng = np.random.default_rng(seed)
    points = (rng.uniform(-0.15, 1.15, (frames, 133, 2)) * (width, height)).astype(np.float32)
    scores = rng.choice([0.3, 0.49, 0.5, 0.55, 0.9, 1.1], (frames, 133)).astype(np.float32)
    return Pose(points, scores, np.zeros((frames, 5), np.float32), width, height, Fraction(24), **more)


def plain_drawing(pose: Pose, frame: int = 0, wrong: str = "") -> np.ndarray:
    """The rules of models/wan_animate.md one after the other; `wrong` breaks one of them."""
    w, h = pose.width, pose.height
    whole = (lambda v: round(float(v))) if wrong == "rounded" else (lambda v: int(v))
    threshold = 0.51 if wrong == "threshold" else 0.5
    s = max(min(w, h) // 200 - 1, 1) if wrong != "stick" else max(min(w, h) // 200, 1)
    t = max(s // 2, 1)
    # The published points are float32 fractions multiplied by the size in float64.
    fractions = [[np.float32(x) / np.float32(w), np.float32(y) / np.float32(h)] for x, y in pose.points[frame]]

    def at(indices):
        x, y = (sum(fractions[i][k] for i in indices) / np.float32(len(indices)) for k in range(2))
        score = sum(pose.scores[frame][i] for i in indices) / np.float32(len(indices))
        return float(x) * w, float(y) * h, score

    points = [at([int(i) for i in mean.split("+")]) for mean in BODY.split()]
    colours = [tuple(int(c) for c in colour.split(",")) for colour in COLOURS.split()]
    canvas = np.zeros((h, w, 3), dtype=np.uint8)

    def limbs():
        for i, limb in enumerate(LIMBS.split()):
            (ax, ay, ap), (bx, by, bp) = (points[int(k)] for k in limb.split("-"))
            if ap < threshold or bp < threshold:
                continue
            axes = (whole(math.hypot(ax - bx, ay - by) / 2), s)
            degrees = whole(math.degrees(math.atan2(ay - by, ax - bx)))
            outline = cv2.ellipse2Poly((whole((ax + bx) / 2), whole((ay + by) / 2)), axes, degrees, 0, 360, 1)
            share = 1.0 if wrong == "full colour" else 0.6
            cv2.fillConvexPoly(canvas, outline, tuple(int(c * share) for c in colours[i]))

    def joints():
        for (x, y, p), colour in zip(points, colours, strict=True):
            if p >= threshold:
                cv2.circle(canvas, (whole(x), whole(y)), s, colour, thickness=-1)

    def hand(first):
        edges = [(0, f) if j == 0 else (f + j - 1, f + j) for f in (1, 5, 9, 13, 17) for j in range(4)]
        spots = [at([first + i]) for i in range(21)]
        for i, (a, b) in enumerate(edges):
            xs = [whole(v) for v in (*spots[a][:2], *spots[b][:2])]
            if spots[a][2] >= threshold and spots[b][2] >= threshold and (min(xs) > 0 or wrong == "edge"):
                hue = [255 * c for c in colorsys.hsv_to_rgb(i / (21 if wrong == "hue" else 20), 1, 1)]
                cv2.line(canvas, xs[:2], xs[2:], hue, thickness=t)
        for x, y, p in spots:
            if p >= threshold and whole(x) > 0 and whole(y) > 0:
                blue = (255, 0, 0) if wrong == "bgr" else (0, 0, 255)
                cv2.circle(canvas, (whole(x), whole(y)), t, blue, thickness=-1)

    for part in (joints, limbs) if wrong == "order" else (limbs, joints):
        part()
    for first in (112, 91) if wrong == "hands" else (91, 112):
        hand(first)
    return canvas


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_drawing_follows_the_rules_pixel_for_pixel(width, height):
    pose = random_pose(1, width, height, frames=6)
    drawn = PoseFrames(pose, width, height).read(0, 6).numpy()
    for i in range(6):
        np.testing.assert_array_equal(drawn[i], plain_drawing(pose, i))


@pytest.mark.parametrize(
    "wrong", ["rounded", "threshold", "stick", "full colour", "order", "hue", "bgr", "hands", "edge"]
)
def test_a_wrong_rule_is_noticed(wrong):
    poses = [random_pose(seed, 1280, 720) for seed in range(6)]
    assert any((PoseFrames(p, 1280, 720).read(0, 1)[0].numpy() != plain_drawing(p, wrong=wrong)).any() for p in poses)


def test_drawing_equals_the_published_code():
    """The checksum of what Wan2.2's own draw_aapose_by_meta_new draws for these points (OpenCV 4.14)."""
    drawn = PoseFrames(random_pose(7, 1280, 720), 1280, 720).read(0, 1)[0].numpy()
    assert zlib.crc32(drawn.tobytes()) == 2460353115


def test_nothing_is_drawn_for_unseen_or_absurd_points():
    pose = random_pose(3, 640, 360)
    unseen = Pose(pose.points, pose.scores * 0, pose.boxes, 640, 360, pose.fps)
    assert not PoseFrames(unseen, 640, 360).read(0, 1).any()
    points = pose.points.copy()
    points[0, :40], points[0, 91:] = 1e12, np.nan
    PoseFrames(Pose(points, pose.scores * 0 + 1, pose.boxes, 640, 360, pose.fps), 640, 360).read(0, 1)


def test_another_size_is_letterboxed_from_the_own_size():
    pose = random_pose(4, 640, 360)
    drawn = PoseFrames(pose, 300, 400).read(0, 1)[0].numpy()
    shrunk = cv2.resize(plain_drawing(pose), (300, int(300 / 640 * 360)), interpolation=cv2.INTER_LINEAR)
    wanted = np.zeros((400, 300, 3), np.uint8)
    top = int((400 - len(shrunk)) / 2)
    wanted[top : top + len(shrunk)] = shrunk
    np.testing.assert_array_equal(drawn, wanted)
    assert not drawn[:top].any()
    upright = PoseFrames(random_pose(4, 300, 400), 640, 360).read(0, 1)[0].numpy()
    assert not upright[:, : int((640 - 270) / 2)].any()
    assert upright[:, 185:455].any()


def test_a_retargeted_pose_is_drawn_at_the_size_asked_for():
    pose = random_pose(5, 640, 360, retargeted=True)
    drawn = PoseFrames(pose, 1280, 720).read(0, 1)[0].numpy()
    twice = Pose(pose.points * 2, pose.scores, pose.boxes, 1280, 720, pose.fps)
    np.testing.assert_array_equal(drawn, plain_drawing(twice))  # line widths of 720 lines, not of 360
    boxed = PoseFrames(pose, 640, 720).read(0, 1)[0].numpy()
    shifted = Pose(pose.points + np.float32([0, 180]), pose.scores, pose.boxes, 640, 720, pose.fps)
    assert (boxed != plain_drawing(shifted)).mean() < 2e-4  # a point may truncate the other way after the shift


def test_reading_by_range_gives_the_same_frames_and_respects_the_end():
    frames = PoseFrames(random_pose(6, 208, 416, frames=9), 208, 416)
    whole = frames.read(0, 9)
    assert (frames.num_frames, frames.fps, tuple(whole.shape)) == (9, 24, (9, 416, 208, 3))
    np.testing.assert_array_equal(whole[4:7], frames.read(4, 7))
    assert tuple(frames.read(3, 3).shape) == (0, 416, 208, 3)
    with pytest.raises(IndexError):
        frames.read(5, 10)


def test_a_body_off_the_top_left_repeats_the_one_before():
    pose = random_pose(8, 640, 360, frames=4)
    points = np.abs(pose.points)
    points[[0, 2]] *= -1
    pose = Pose(points, pose.scores, pose.boxes, 640, 360, pose.fps)
    fractions, scores = body_fractions(pose)
    np.testing.assert_array_equal(fractions[2], fractions[1])
    np.testing.assert_array_equal(scores[2], scores[1])
    assert (fractions[0] < 0).all()
    assert (fractions[3] != fractions[1]).any()


def test_body_of_twenty_means():
    points = np.zeros((1, 133, 2), np.float32)
    points[0, [5, 6]], points[0, [17, 18]] = [[100, 40], [60, 50]], [[10, 8], [30, 16]]
    scores = np.zeros((1, 133), np.float32)
    scores[0, [5, 6]] = 1.0, 0.5
    at, score = body(Pose(points, scores, np.zeros((1, 5), np.float32), 200, 100, Fraction(24)))
    np.testing.assert_allclose(at[0, [1, 2, 5, 18]], [[80, 45], [60, 50], [100, 40], [20, 12]], rtol=1e-6)
    assert score[0, 1] == 0.75


def test_pose_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="133"):
        Pose(np.zeros((2, 17, 2)), np.zeros((2, 17)), np.zeros((2, 5)), 8, 8, Fraction(24))
