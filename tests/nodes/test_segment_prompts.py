"""Boxes and points from JSON: what is taken as it is, and refusals that name box or point and the picture's size."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.segment.prompts import Boxes, Points, parse_prompt

WIDTH, HEIGHT = 1920, 1080


def parse(boxes: str = "", points: str = "", labels: str = "") -> Boxes | Points:
    return parse_prompt(boxes, points, labels, WIDTH, HEIGHT)


def refusal(**texts: str) -> str:
    with pytest.raises(MotionError) as caught:
        parse(**texts)
    assert caught.value.code == "invalid_value"
    assert caught.value.hint
    return str(caught.value)


def test_the_documents_own_box():
    assert parse("[[100, 150, 400, 600]]") == Boxes([[100, 150, 400, 600]])


def test_boxes_up_to_the_very_edge_and_fractions_of_a_pixel():
    assert parse("[[0,0,1920,1080],[0.5,1e1,1.5,11]]") == Boxes([[0, 0, 1920, 1080], [0.5, 10, 1.5, 11]])


def test_points_on_the_first_and_the_last_pixel():
    assert parse(points="[[0,0],[1919,1079]]", labels="[1,0]") == Points([[0, 0], [1919, 1079]], [1, 0])


def test_an_empty_list_is_none():
    assert parse("[]", "[[5,5]]", "[1]") == Points([[5, 5]], [1])
    assert parse("[[1,1,2,2]]", " ", "[]") == Boxes([[1, 1, 2, 2]])


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ("[-1,0,10,10]", "reaches outside"),
        ("[0,-0.5,10,10]", "reaches outside"),
        ("[0,0,1920.5,10]", "reaches outside"),
        ("[0,0,10,1081]", "reaches outside"),
        ("[3000,2000,3100,2100]", "reaches outside"),
        ("[1e999,0,1e999,10]", "is empty"),
        ("[0,0,1" + "0" * 400 + ",10]", "reaches outside"),
        ("[10,10,10,20]", "is empty"),
        ("[10,10,20,10]", "is empty"),
        ("[20,10,10,20]", "is empty"),
        ("[10,20,20,10]", "is empty"),
    ],
)
def test_a_box_outside_or_empty_is_named_with_the_pictures_size(box, words):
    text = refusal(boxes=f"[[1,1,2,2],{box}]")
    assert "Box 2 of 2" in text
    assert words in text
    assert "1920x1080" in text
    assert len(text) < 400


@pytest.mark.parametrize("point", ["[-1,0]", "[1920,0]", "[0,1080]", "[0,-0.01]", "[1e999,5]"])
def test_a_point_outside_is_named_with_the_pictures_size(point):
    text = refusal(points=f"[[1,1],[2,2],{point}]", labels="[1,1,0]")
    assert "Point 3 of 3" in text
    assert "outside" in text
    assert "1920x1080" in text


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({}, "no box and no point"),
        ({"boxes": "[]", "points": "[]", "labels": "[]"}, "no box and no point"),
        ({"labels": "[1]"}, "point_labels but no points"),
        ({"boxes": "[[1,1,2,2]]", "points": "[[1,1]]", "labels": "[1]"}, "both boxes and points"),
        ({"boxes": "[[1,1,2,2]]", "labels": "[1]"}, "both boxes and points"),
        ({"points": "[[1,1],[2,2]]"}, "2 points and no point_labels"),
        ({"points": "[[1,1],[2,2]]", "labels": "[1]"}, "2 points and 1 point_labels"),
        ({"points": "[[1,1]]", "labels": "[1,0]"}, "1 points and 2 point_labels"),
        ({"points": "[[1,1]]", "labels": "[2]"}, "2 is neither 1 nor 0"),
        ({"points": "[[1,1]]", "labels": "[true]"}, "true is neither 1 nor 0"),
        ({"points": "[[1,1]]", "labels": '["1"]'}, "neither 1 nor 0"),
        ({"points": "[[1,1]]", "labels": "[null]"}, "neither 1 nor 0"),
        ({"points": "[[1,1,2,2]]", "labels": "[1]"}, "is not 2 numbers"),
        ({"points": "[1,1]", "labels": "[1]"}, "is not 2 numbers"),
        ({"boxes": "[[1,1,2]]"}, "is not 4 numbers"),
        ({"boxes": "[1,1,2,2]"}, "is not 4 numbers"),
        ({"boxes": '[[1,1,2,"2"]]'}, "is not 4 numbers"),
        ({"boxes": "[[1,1,2,true]]"}, "is not 4 numbers"),
        ({"boxes": "[[1,1,2,null]]"}, "is not 4 numbers"),
        ({"boxes": "[[1,1,2,2]"}, "boxes is no JSON"),
        ({"boxes": "100,150,400,600"}, "boxes is no JSON"),
        ({"boxes": "[[1,1,NaN,2]]"}, "NaN is not a number"),
        ({"boxes": "[[1,1,Infinity,2]]"}, "Infinity is not a number"),
        ({"boxes": "[" * 100_000}, "nested too deeply"),
        ({"boxes": '{"x1": 1}'}, "not a list"),
        ({"boxes": "7"}, "not a list"),
        ({"points": "null", "labels": "[1]"}, "not a list"),
    ],
)
def test_what_is_no_prompt_is_refused_in_words(texts, words):
    assert words in refusal(**texts)


def test_a_refusal_does_not_repeat_a_long_text():
    assert len(refusal(boxes=json.dumps([list(range(10_000))]))) < 300


corner = st.tuples(
    st.floats(-10, WIDTH + 10) | st.integers(-10, WIDTH + 10), st.floats(-10, HEIGHT + 10) | st.integers(0, HEIGHT)
)


@given(st.lists(st.tuples(corner, corner), min_size=1, max_size=8))
def test_boxes_are_taken_unchanged_or_refused_with_the_first_that_is_wrong(corners):
    boxes = [[*first, *second] for first, second in corners]
    good = [0 <= x1 < x2 <= WIDTH and 0 <= y1 < y2 <= HEIGHT for x1, y1, x2, y2 in boxes]
    if all(good):
        assert parse(json.dumps(boxes)) == Boxes(boxes)
    else:
        found = re.search(r"Box (\d+) of", refusal(boxes=json.dumps(boxes)))
        assert found
        assert int(found[1]) == good.index(False) + 1
