"""The picture with its masks: what is drawn is where the mask is, and each one can be told from the others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from cli.overlay import DARK, LIGHT, SAFE, Drawn, colours, draw_masks, inner_point

GREY = (100, 100, 100)
SIZE = (400, 300)


def ellipse(*box: float) -> np.ndarray:
    mask = Image.new("1", SIZE)
    ImageDraw.Draw(mask).ellipse(box, fill=1)
    return np.asarray(mask).copy()


def drawn(*masks: Drawn, **asked) -> np.ndarray:
    return np.asarray(draw_masks(Image.new("RGB", SIZE, GREY), masks, **asked)).astype(int)


def test_a_mask_is_tinted_at_half_strength_with_an_outline_and_the_rest_stays():
    mask = ellipse(50, 40, 350, 260)
    seen = drawn(Drawn(mask))
    assert (seen[~mask] == GREY).all()
    assert tuple(seen[150, 80]) == tuple(round(0.5 * 100 + 0.5 * tint) for tint in SAFE[0])
    assert tuple(seen[150, 50]) == SAFE[0]  # its leftmost pixel
    assert DARK in {tuple(pixel) for pixel in seen[150, 50:56]}


def test_overlapping_masks_keep_both_outlines():
    left, right = ellipse(50, 50, 250, 250), ellipse(150, 50, 350, 250)
    seen = drawn(Drawn(left), Drawn(right))
    assert tuple(seen[150, 250]) == SAFE[0]
    assert tuple(seen[150, 150]) == SAFE[1]


def test_a_whole_picture_has_an_outline_too():
    seen = drawn(Drawn(np.ones(SIZE[::-1], bool)))
    assert tuple(seen[0, 0]) == tuple(seen[-1, -1]) == SAFE[0]


def test_labels_are_on_their_masks_and_not_over_one_another():
    nested = [Drawn(ellipse(20, 20, 380, 280), 0.9), Drawn(ellipse(160, 110, 240, 190), 0.8)]
    labels = [np.argwhere((drawn(*nested) == LIGHT).all(axis=2))]
    rows, columns = labels[0].T
    inner = nested[1].mask[rows, columns]
    assert inner.any()
    # The large one's label is where the small one is not.
    assert (nested[0].mask & ~nested[1].mask)[rows, columns].any()
    twins = [Drawn(ellipse(20, 20, 380, 280), 0.9)] * 3
    light = (drawn(*twins) == LIGHT).all(axis=2).any(axis=1)
    assert np.count_nonzero(np.diff(light.astype(int)) == 1) >= 3  # three rows of text


def test_boxes_and_points_are_drawn():
    mask = ellipse(100, 100, 200, 200)
    seen = drawn(Drawn(mask, box=[100, 100, 200, 200]), boxes=[[40, 40, 260, 260]])
    assert tuple(seen[100, 110]) == SAFE[0]
    around = {tuple(pixel) for pixel in seen[40, 40:260]}
    assert around == {DARK, LIGHT}
    marked = drawn(points=[[300, 50], [300, 250]], point_labels=[1, 0])
    assert tuple(marked[47, 300]) == DARK  # the upright arm of the plus
    assert tuple(marked[247, 300]) == LIGHT
    assert tuple(marked[250, 300]) == DARK


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match="a mask is 300x400, the picture 400x300"):
        drawn(Drawn(np.ones((400, 300), bool)))


def test_an_empty_mask_and_no_mask_are_drawn_as_nothing():
    assert (drawn() == GREY).all()
    drawn(Drawn(np.zeros(SIZE[::-1], bool), 0.1))


def test_all_colours_of_a_job_are_distinct():
    found = colours(64)
    assert len(set(found)) == 64
    assert found[: len(SAFE)] == list(SAFE)
    assert colours(2) == list(SAFE[:2])


def test_the_safe_colours_stay_apart_for_the_colour_blind():
    """Machado, Oliveira and Fernandes 2009: what a deuteranope and a protanope see, in linear light."""
    seen_by = {
        "deuteranope": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        "protanope": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    }
    for matrix in seen_by.values():
        seen = ((np.array(SAFE) / 255) ** 2.2) @ np.array(matrix).T
        seen = np.clip(seen, 0, 1) ** (1 / 2.2)
        apart = [np.abs(a - b).max() for index, a in enumerate(seen) for b in seen[:index]]
        assert min(apart) > 0.1


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_the_inner_point_is_in_the_mask(width, height, data):
    mask = np.zeros((height, width), bool)
    for _ in range(data.draw(st.integers(1, 3))):
        x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        mask[y : y + data.draw(st.integers(1, 60)), x : x + data.draw(st.integers(1, 60))] = True
    x, y = inner_point(mask)
    assert mask[min(int(y), height - 1), min(int(x), width - 1)]


def test_nothing_has_no_inner_point():
    assert inner_point(np.zeros((4, 4), bool)) is None
