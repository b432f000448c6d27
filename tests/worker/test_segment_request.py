"""operations/segment.py: what a request may say, how it is refused, and what it does to the graph."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import JobError
from worker.graph import graph_from
from worker.operations.segment import COSTS, Segment

from .asking import Asked, picture, renamed

OPERATION = Segment()
ASKED = Asked(OPERATION, {"image_url": "https://x/a.png", "bboxes": [[100, 150, 400, 600]]})
POINTS = {"bboxes": "absent", "points": [[10, 20], [30.5, 40]], "point_labels": [1, 0]}
BOXES = [[0, 0, 10, 10], [5, 5, 1920, 1080]]


def said(count):
    masks = [{"score": 0.9 - 0.1 * n, "bbox": [n, n, n + 5, n + 5] if n else None} for n in range(count)]
    return {"Save masks": {"masks": masks}}


def test_the_pinned_graph_is_bound_with_boxes_alone():
    assert ASKED.different_from_pinned() == {
        *(("Image", "image"), ("Segment image", "boxes"), ("Save masks", "filename_prefix"))
    }


BAD = [
    ({"image_url": "absent"}, "missing_field", "image_url"),
    ({"image_base64": "QUJD"}, "conflicting_fields", "image_base64"),
    ({"bboxes": "absent"}, "missing_field", "bboxes"),
    ({"bboxes": None}, "missing_field", "bboxes"),
    ({**POINTS, "bboxes": BOXES}, "conflicting_fields", "bboxes"),
    ({"point_labels": [1]}, "conflicting_fields", "bboxes"),
    ({"bboxes": []}, "invalid_value", "bboxes"),
    ({"bboxes": [[0, 0, 5, 5]] * 65}, "invalid_value", "bboxes"),
    ({"bboxes": [0, 0, 5, 5]}, "invalid_value", "bboxes.0"),
    ({"bboxes": [[0, 0, 5]]}, "invalid_value", "bboxes.0"),
    ({"bboxes": [[0, 0, 5, 5, 5]]}, "invalid_value", "bboxes.0"),
    ({"bboxes": [[0, 0, 5, "5"]]}, "invalid_value", "bboxes.0.3"),
    ({"bboxes": [[0, 0, 5, True]]}, "invalid_value", "bboxes.0.3"),
    ({"bboxes": [[0, 0, 5, math.nan]]}, "invalid_value", "bboxes.0.3"),
    ({"bboxes": [[0, 0, math.inf, 5]]}, "invalid_value", "bboxes.0.2"),
    ({"bboxes": [[0, 0, 5, 5], [50, 50, 50, 80]]}, "invalid_value", "bboxes.1"),
    ({"bboxes": [[50, 80, 90, 20]]}, "invalid_value", "bboxes.0"),
    ({"bboxes": [[-1, 0, 5, 5]]}, "invalid_value", "bboxes.0"),
    ({**POINTS, "point_labels": "absent"}, "missing_field", "point_labels"),
    ({**POINTS, "point_labels": [1]}, "invalid_value", "point_labels"),
    ({**POINTS, "point_labels": [1, 2]}, "invalid_value", "point_labels.1"),
    ({**POINTS, "point_labels": [1, True]}, "invalid_value", "point_labels.1"),
    ({**POINTS, "point_labels": [0, 0]}, "invalid_value", "point_labels"),
    ({**POINTS, "points": [[1, 2, 3], [1, 2]]}, "invalid_value", "points.0"),
    ({**POINTS, "points": [[1, 2], [3, -4]]}, "invalid_value", "points.1"),
    ({**POINTS, "points": [[1, 2]] * 65, "point_labels": [1] * 65}, "invalid_value", "points"),
    ({**POINTS, "points": "absent"}, "missing_field", "bboxes"),
    ({"seed": 5}, "unknown_field", "seed"),
    ({"boxes": BOXES}, "unknown_field", "boxes"),
]


@pytest.mark.parametrize(("changes", "code", "field"), BAD)
def test_every_bad_value_has_a_code_a_field_and_a_hint(changes, code, field):
    error = ASKED.refused(**changes)
    assert (error.code, error.field) == (code, field)
    assert error.hint
    assert {"bbo": "box", "poi": "point"}.get(field[:3], field) in error.message.lower()
    assert len(error.message) < 400


def test_messages_name_the_box():
    error = ASKED.refused(bboxes=[[0, 0, 5, 5], [50, 50, 50, 80]])
    assert "Box 2 of 2, [50, 50, 50, 80], is empty" in error.message
    assert "Point 2 of 2, [3, -4], lies outside" in ASKED.refused(**POINTS | {"points": [[1, 2], [3, -4]]}).message
    assert "1 labels for 2 points" in ASKED.refused(**POINTS | {"point_labels": [1]}).message


OUTSIDE = [
    ({"bboxes": [[0, 0, 9, 9], [0, 0, 1921, 5]]}, "bboxes.1", "Box 2 of 2, [0, 0, 1921, 5], reaches outside"),
    ({"bboxes": [[0, 0, 9, 1080.5]]}, "bboxes.0", "Box 1 of 1"),
    ({"bboxes": [[5000, 5000, 6000, 6000]]}, "bboxes.0", "Box 1 of 1"),
    ({**POINTS, "points": [[1919.5, 1079.5], [1920, 5]]}, "points.1", "Point 2 of 2, [1920, 5], lies outside"),
    ({**POINTS, "points": [[0, 1080], [1, 1]]}, "points.0", "Point 1 of 2"),
]


@pytest.mark.parametrize(("changes", "field", "told"), OUTSIDE)
def test_what_lies_outside_the_picture_is_refused_once_its_size_is_known(changes, field, told):
    request = ASKED.parse(**changes)
    with pytest.raises(JobError) as caught:
        OPERATION.expected(request, {"image": picture(1920, 1080)})
    assert (caught.value.code, caught.value.field) == ("invalid_value", field)
    assert told in caught.value.message
    assert "1920x1080 pixels" in caught.value.message


def test_more_mask_than_memory_is_refused():
    request = ASKED.parse(bboxes=[[0, 0, 50, 50]] * 20)
    assert OPERATION.expected(request, {"image": picture(10_000, 5_000)}) is None
    with pytest.raises(JobError) as caught:
        OPERATION.expected(request, {"image": picture(10_000, 5_001)})
    assert (caught.value.code, caught.value.field) == ("too_large", "bboxes")
    assert "at most 19 boxes" in caught.value.hint


def test_what_touches_the_edge_is_inside():
    assert OPERATION.expected(ASKED.parse(bboxes=BOXES), {"image": picture(1920, 1080)}) is None
    edge = ASKED.parse(**POINTS | {"points": [[0, 0], [1919.9, 1079]]})
    assert OPERATION.expected(edge, {"image": picture(1920, 1080)}) is None


def test_binding_boxes_and_points():
    boxes = ASKED.bound(bboxes=BOXES)
    assert boxes["Image"]["image"] == "x/image.png"
    assert json.loads(boxes["Segment image"]["boxes"]) == BOXES
    assert (boxes["Segment image"]["points"], boxes["Segment image"]["point_labels"]) == ("", "")
    assert boxes["Save masks"]["filename_prefix"] == "x/mask"
    points = ASKED.bound(**POINTS)["Segment image"]
    assert points["boxes"] == "", "the pinned graph's own box is gone"
    assert json.loads(points["points"]) == POINTS["points"]
    assert json.loads(points["point_labels"]) == POINTS["point_labels"]


@given(st.integers(1, 64))
def test_one_mask_a_box(count):
    request = ASKED.parse(bboxes=[[0, 0, 5, 5]] * count)
    keys = OPERATION.outputs(request, "job")["masks"].keys
    assert keys == tuple(f"segment/results/job_mask_{n}.png" for n in range(1, count + 1))


def test_one_mask_for_all_points():
    assert OPERATION.outputs(ASKED.parse(**POINTS), "job")["masks"].keys == ("segment/results/job_mask_1.png",)


def test_masks_are_answered_in_the_order_of_the_boxes():
    answer = ASKED.answer(True, said(2), bboxes=BOXES)
    assert [mask["url"].split("?")[0][-5] for mask in answer["masks"]] == ["1", "2"]
    assert [mask["score"] for mask in answer["masks"]] == [0.9, 0.8]
    assert [mask["bbox"] for mask in answer["masks"]] == [None, [1, 1, 6, 6]]
    assert (answer["mask_count"], answer["image_size"]) == (2, [1920, 1080])


def test_masks_without_scores_are_no_result():
    for told in ({}, said(1)):
        with pytest.raises(JobError, match="no_output"):
            ASKED.answer(True, told, bboxes=BOXES)


def test_every_title_that_is_spoken_of_is_in_the_graph():
    shares = OPERATION.shares(ASKED.parse())
    assert set(COSTS) == set(OPERATION.graphs["segment"].titles()) == set(shares)
    assert shares == OPERATION.bind(ASKED.parse(), {"image": "i"}, {}, "x").weights
    assert shares["Segment image"] > 0.7 * sum(shares.values())


@pytest.mark.parametrize("title", ["Image", "Segment image", "Save masks"])
def test_a_graph_that_was_edited_is_refused_when_the_worker_starts(title):
    with pytest.raises(JobError, match="graph_invalid"):
        Segment(graph_from(renamed(OPERATION, "segment", title))).check()
    OPERATION.check()


def test_failures_of_nodes_are_laid_at_the_right_field():
    assert OPERATION.field_of("invalid_value", "Segment image", ASKED.parse()) == "bboxes"
    assert OPERATION.field_of("empty_mask", "Segment image", ASKED.parse(**POINTS)) == "points"
    assert OPERATION.field_of("not_an_image", "Image", ASKED.parse()) == "image_url"
    assert OPERATION.field_of("model_file", "SAM2", ASKED.parse()) is None
