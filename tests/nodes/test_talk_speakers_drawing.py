"""The drawn speakers: where the picture changes, in which colour, and names that are whole, clear and apart."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_nodes.comfy_motion.segment.drawn import COLOURS
from custom_nodes.comfy_motion.talk.draw_speakers import draw_speakers, place
from custom_nodes.comfy_motion.talk.speakers import Speakers, left_and_right, one_speaker

GREY = 128
SIZES = [(832, 480), (464, 832), (1280, 720), (720, 1280)]


def picture(width: int, height: int) -> torch.Tensor:
    return torch.full((height, width, 3), GREY, dtype=torch.uint8)


def plates(drawn: np.ndarray) -> list[tuple[int, int, int, int]]:
    """left, top, right, bottom of the black plates' insides, from the left: the only large pure black there is."""
    black = (drawn == 0).all(-1).astype(np.uint8)
    height = drawn.shape[0]
    closed = cv2.morphologyEx(np.pad(black, 40), cv2.MORPH_CLOSE, np.ones((1, 25), np.uint8))[40:-40, 40:-40]
    _, _, stats, _ = cv2.connectedComponentsWithStats(closed)
    wide = [s for s in stats[1:].tolist() if s[2] > 2.5 * s[3] and s[4] > height / 10]
    return sorted((x, y, x + w, y + h) for x, y, w, h, _ in wide)


def edges(mask: torch.Tensor) -> tuple[int, int]:
    columns = mask.any(0).nonzero()
    return int(columns[0]), int(columns[-1]) + 1


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_each_mask_has_its_colour_and_the_background_stays(width, height):
    speakers = left_and_right(width, height)
    drawn = draw_speakers(picture(width, height), speakers).numpy()
    assert (drawn.shape, drawn.dtype) == ((height, width, 3), np.uint8)
    for row, colour in zip(speakers.rows[:2].numpy(), COLOURS, strict=False):
        ys, xs = row.nonzero()
        tint = np.round(GREY * 0.55 + np.array(colour) * 0.45)
        np.testing.assert_allclose(drawn[ys.min() + 10, xs.min() + 10], tint, atol=1)
        np.testing.assert_array_equal(drawn[ys.min(), xs.min() + 20], colour)  # the outline
    reach = np.ones((9, 9), np.uint8)  # the outline's stroke
    background = speakers.rows[2].numpy() * (1 - cv2.dilate(1 - speakers.rows[2].numpy(), reach))
    assert background.any()
    assert (drawn[background > 0] == GREY).all()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_names_are_whole_legible_and_under_their_people(width, height):
    speakers = left_and_right(width, height)
    drawn = draw_speakers(picture(width, height), speakers).numpy()
    found = plates(drawn)
    assert len(found) == 2
    for plate, row in zip(found, speakers.rows, strict=False):
        left, top, right, bottom = plate
        first, last = edges(row > 0)
        assert abs((left + right) - (first + last)) <= 4
        assert top > height * 0.85
        assert 0 <= left < right <= width
        assert bottom <= height
        white = (drawn[top:bottom, left:right] > 200).all(-1)
        ys, xs = white.nonzero()
        assert np.ptp(ys) >= min(width, height) / 40  # a letter's height: 12 pixels at 480p, 18 at 720p
        assert xs.min() > 0  # no letter touches the plate's edge
        assert xs.max() < right - left - 1
        assert ys.max() < bottom - top - 1
        assert 0.05 < white.mean() < 0.5


def test_each_person_has_their_own_name():
    for names in (("short", "a much longer name"), ("a much longer name", "short")):
        speakers = Speakers(names, left_and_right(832, 480).rows)
        first, second = (
            right - left for left, _, right, _ in plates(draw_speakers(picture(832, 480), speakers).numpy())
        )
        assert (first > 1.8 * second) == (names[1] == "short")
        assert (second > 1.8 * first) == (names[0] == "short")


def sides(width: int, height: int) -> torch.Tensor:
    """Two thin masks at the picture's own edges and corners."""
    masks = torch.zeros(2, height, width)
    masks[0, : height // 2, : width // 8] = 1
    masks[1, height // 2 :, -width // 8 :] = 1
    return masks


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_names_at_the_edges_are_not_cut_off(width, height):
    named = Speakers(("audio_1", "audio_2"), torch.cat([sides(width, height), torch.zeros(1, height, width)]))
    drawn = draw_speakers(picture(width, height), named).numpy()
    found = sorted(plates(drawn), key=lambda plate: plate[1])  # the first mask is the upper one
    assert len(found) == 2
    for (left, top, right, bottom), colour in zip(found, COLOURS, strict=False):
        assert 0 < left < right < width
        assert 0 < top < bottom < height
        for side in (drawn[top, left - 1], drawn[top, right], drawn[top - 1, left], drawn[bottom, left]):
            np.testing.assert_array_equal(side, colour)  # the frame is there all around


def test_long_names_become_smaller_and_stay_inside():
    speakers = Speakers(("a" * 60, "b" * 60), left_and_right(464, 832).rows)
    drawn = draw_speakers(picture(464, 832), speakers).numpy()
    found = plates(drawn)
    assert len(found) == 2
    for left, top, right, bottom in found:
        _, xs = (drawn[top:bottom, left:right] > 150).all(-1).nonzero()
        assert xs.min() > 0
        assert xs.max() < right - left - 1
        assert right <= 464
    assert found[0][3] <= found[1][1] or found[1][3] <= found[0][1]  # one above the other


def test_one_speaker_is_named_and_nothing_is_tinted():
    drawn = draw_speakers(picture(832, 480), one_speaker(832, 480)).numpy()
    ((left, top, right, _),) = plates(drawn)
    assert abs(left + right - 832) <= 4
    changed = (drawn != GREY).any(-1)
    assert not changed[: top - 5].any()
    assert not changed[:, : left - 5].any()
    assert not changed[:, right + 5 :].any()


@pytest.mark.parametrize(("width", "height"), [(832, 64), (64, 832), (112, 64), (64, 64)])
def test_the_smallest_pictures_hold_a_whole_name(width, height):
    changed = draw_speakers(picture(width, height), one_speaker(width, height)).numpy()
    ys, xs = (changed != GREY).any(-1).nonzero()
    plate = changed[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    for side in (plate[0], plate[-1], plate[:, 0], plate[:, -1]):
        assert (side == COLOURS[0]).all()  # the frame is there all around
    inside = plate[1:-1, 1:-1]
    assert (inside > 100).all(-1).any()
    assert (inside[:, 0] == 0).all()
    assert (inside[:, -1] == 0).all()


def test_the_picture_given_is_left_alone():
    given_picture = picture(832, 480)
    draw_speakers(given_picture, left_and_right(832, 480))
    draw_speakers(given_picture, one_speaker(832, 480))
    assert (given_picture == GREY).all()


def test_places_by_hand():
    assert place((100, 20), (200, 300), (400, 400), []) == (150, 280, 250, 300)
    assert place((100, 20), (10, 300), (400, 400), []) == (0, 280, 100, 300)
    assert place((100, 20), (390, 10), (400, 400), []) == (300, 0, 400, 20)
    assert place((100, 20), (200, 300), (400, 400), [(240, 285, 300, 305)]) == (150, 265, 250, 285)
    assert place((100, 20), (200, 300), (400, 400), [(250, 285, 300, 305)]) == (150, 280, 250, 300)  # side by side
    assert place((100, 20), (200, 20), (400, 400), [(150, 0, 250, 20)]) == (150, 20, 250, 40)
    assert place((100, 20), (200, 20), (400, 400), [(150, 0, 250, 385)]) == (150, 0, 250, 20)  # no room: over it


points = st.tuples(st.integers(0, 300), st.integers(0, 300))


@settings(max_examples=200, deadline=None)
@given(points, points)
def test_two_plates_are_inside_and_apart(first, second):
    size, whole = (90, 20), (300, 300)
    taken = [place(size, first, whole, [])]
    taken.append(place(size, second, whole, taken))
    for left, top, right, bottom in taken:
        assert 0 <= left < right <= 300
        assert 0 <= top < bottom <= 300
        assert (right - left, bottom - top) == size
    (l1, t1, r1, b1), (l2, t2, r2, b2) = taken
    assert l1 >= r2 or l2 >= r1 or t1 >= b2 or t2 >= b1
