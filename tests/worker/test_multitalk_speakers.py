"""operations/multitalk_speakers.py: who has which voice, held to the node that fits the picture."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.segment.prompts import Boxes, Points, parse_prompt
from custom_nodes.comfy_motion.talk.fit_picture import fit_picture
from custom_nodes.comfy_motion.talk.fit_picture import fitted_size as size_of_node
from worker.errors import JobError
from worker.media import SoundInfo
from worker.operations.multitalk import MultiTalk
from worker.operations.multitalk_speakers import fitted_size, in_fitted

from .asking import Asked, picture

OPERATION = MultiTalk()
GOOD = {"reference_image": "https://x/a.png", "audio_1": "https://x/1.wav", "audio_2": "https://x/2.wav", "prompt": "p"}
ASKED = Asked(OPERATION, GOOD)
VOICE = SoundInfo(160000, 16000, 1, 10.0, -20.0)
INFOS = {"image": picture(1920, 1080), "audio_1": VOICE, "audio_2": VOICE}
BOXES = [[100, 50, 900, 1000], [1000, 50, 1800, 1000]]
POINTS = [[500, 400], [1400, 400]]


@given(st.integers(64, 4000), st.integers(64, 4000), st.sampled_from(["480p", "720p"]))
def test_the_size_is_the_nodes(width, height, resolution):
    assert fitted_size(width, height, resolution) == size_of_node(width, height, resolution)


@pytest.mark.parametrize(
    ("width", "height", "small", "large"),
    [
        (832, 480, (832, 480), (1248, 720)),
        (1920, 1080, (832, 464), (1280, 720)),
        (480, 832, (480, 832), (720, 1248)),
        (1000, 1000, (624, 624), (960, 960)),
        (4000, 1000, (1248, 304), (1920, 480)),
    ],
)
def test_the_video_has_the_shape_of_the_picture(width, height, small, large):
    for resolution, size in (("480p", small), ("720p", large)):
        found = OPERATION.expected(ASKED.parse(resolution=resolution), {**INFOS, "image": picture(width, height)})
        assert (found.width, found.height) == size


@pytest.mark.parametrize("size", [(1920, 1080), (333, 500), (1000, 300), (97, 131)])
@pytest.mark.parametrize("resolution", ["480p", "720p"])
def test_a_box_stays_on_what_it_was_drawn_around(size, resolution):
    """A white box in a black picture, through the node: its edges are where the worker says, to the pixel."""
    width, height = size
    box = [width // 8, height // 5, width // 2, height * 3 // 4]
    pixels = torch.zeros(1, height, width, 3)
    pixels[:, box[1] : box[3], box[0] : box[2]] = 1
    seen = fit_picture(pixels, resolution)[0, ..., 0] > 0.5
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    edges = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
    (found,) = in_fitted([box], picture(width, height), fitted_size(width, height, resolution))
    assert max(abs(one - other) for one, other in zip(found, edges, strict=True)) <= 1


def test_boxes_go_to_the_node_in_the_fitted_pictures_pixels():
    graph = ASKED.bound(INFOS, speakers=BOXES)
    asked = graph["Segment speakers"]
    assert (asked["points"], asked["point_labels"]) == ("", "")
    found = parse_prompt(asked["boxes"], "", "", 832, 464)
    assert isinstance(found, Boxes)
    assert len(found.boxes) == 2
    scale = 832 / 1920
    assert found.boxes[0] == pytest.approx([100 * scale, 50 * scale - 2, 900 * scale, 1000 * scale - 2], abs=0.5)
    assert "Segment second speaker" not in graph


def test_each_point_gets_a_mask_of_its_own():
    graph = ASKED.bound(INFOS, speakers=POINTS)
    for title, x in (("Segment speakers", 500), ("Segment second speaker", 1400)):
        asked = graph[title]
        found = parse_prompt(asked["boxes"], asked["points"], asked["point_labels"], 832, 464)
        assert isinstance(found, Points)
        assert found.points == [pytest.approx([x * 832 / 1920, 400 * 832 / 1920 - 2], abs=0.5)]
    prompt = OPERATION.bind(ASKED.parse(speakers=POINTS), dict.fromkeys(INFOS, "f"), INFOS, "x").prompt
    ids = {node["_meta"]["title"]: node_id for node_id, node in prompt.items()}
    assert graph["Who speaks"]["masks"] == [ids["Both masks"], 0]
    order = [graph["Both masks"][f"masks.mask{number}"] for number in (0, 1)]
    assert order == [[ids["Segment speakers"], 0], [ids["Segment second speaker"], 0]]
    assert graph["Segment second speaker"]["sam2"] == graph["Segment speakers"]["sam2"]
    assert set(OPERATION.shares(ASKED.parse(speakers=POINTS))) == set(graph)
    assert prompt[ids["Both masks"]]["class_type"] == "BatchMasksNode"
    OPERATION.check()


BAD = [
    (BOXES[:1], "invalid_value", "speakers", "names 1, and there are 2 voices"),
    ([*BOXES, [0, 0, 9, 9]], "invalid_value", "speakers", "names 3"),
    ([BOXES[0], POINTS[1]], "invalid_value", "speakers", "boxes and points"),
    ([BOXES[0], [1, 2, 3]], "invalid_value", "speakers.1", "has 3 numbers"),
    ([BOXES[0], [1, 2, 3, 4, 5]], "invalid_value", "speakers.1", ""),
    ([[-1, 0, 9, 9], BOXES[1]], "invalid_value", "speakers.0", "outside"),
    ([[900, 50, 100, 1000], BOXES[1]], "invalid_value", "speakers.0", "is empty"),
    ([[900, 50, 900, 1000], BOXES[1]], "invalid_value", "speakers.0", "is empty"),
    ([[0, 0, 100, 100], [49, 0, 149, 100]], "speakers_overlap", "speakers", "share 51 %"),
    ([[0, 0, 1000, 1000], [400, 400, 450, 450]], "speakers_overlap", "speakers", "share 100 %"),
    ([[0, 0, 1000, 1000], [0, 0, 1000, 1000]], "speakers_overlap", "speakers", "share 100 %"),
    ([[5, 6], [5, 6]], "speakers_overlap", "speakers", "Both points are [5, 6]"),
    ([[5, 6], ["7", 8]], "invalid_value", "speakers.1.0", "a number"),
    ([], "invalid_value", "speakers", ""),
    ("left", "invalid_value", "speakers", ""),
]


@pytest.mark.parametrize(("speakers", "code", "field", "words"), BAD)
def test_what_is_wrong_in_any_picture_is_refused_before_anything_is_fetched(speakers, code, field, words):
    error = ASKED.refused(speakers=speakers)
    assert (error.code, error.field) == (code, field)
    assert words in error.message
    assert error.hint


def test_half_of_the_smaller_box_may_be_shared():
    assert ASKED.parse(speakers=[[0, 0, 100, 100], [50, 0, 150, 100]]).speakers


def test_one_voice_has_nobody_to_be_told_apart_from():
    error = ASKED.refused(audio_2="absent", speakers=BOXES[:1])
    assert (error.code, error.field) == ("conflicting_fields", "speakers")


OUTSIDE = [
    ([BOXES[0], [1000, 50, 1921, 1000]], "speakers.1", "it has 1920x1080 pixels"),
    ([BOXES[0], [1920, 50, 1930, 1000]], "speakers.1", "it has 1920x1080 pixels"),
    ([[500, 1080], [1400, 400]], "speakers.0", "it has 1920x1080 pixels"),
    ([[500, 1], [1400, 400]], "speakers.0", "margin that is cut off"),
    ([[500, 400], [1400, 1078]], "speakers.1", "margin that is cut off"),
    ([[100, 0, 900, 4], BOXES[1]], "speakers.0", "the video has 832x464 pixels"),
]


@pytest.mark.parametrize(("speakers", "field", "words"), OUTSIDE)
def test_what_does_not_fit_the_picture_is_refused_before_comfyui_is_asked(speakers, field, words):
    with pytest.raises(JobError) as caught:
        OPERATION.expected(ASKED.parse(speakers=speakers), INFOS)
    assert (caught.value.code, caught.value.field) == ("invalid_value", field)
    assert words in caught.value.message


def test_a_box_may_be_the_picture_to_its_edges():
    whole = [[0, 0, 960, 1080], [960, 0, 1920, 1080]]
    assert in_fitted(whole, picture(), (832, 464)) == [[0, 0, 416, 464], [416, 0, 832, 464]]
    assert json.loads(ASKED.bound(INFOS, speakers=whole)["Segment speakers"]["boxes"])[1][2:] == [832, 464]


def test_a_point_just_inside_stays_inside():
    ((_, y), _) = in_fitted([[0, 127.99999999], [64, 64]], picture(128, 128), (624, 624))
    assert 623.99 < y < 624


@given(
    st.integers(128, 3000), st.integers(128, 3000),
    st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=2, max_size=2), st.sampled_from(["480p", "720p"]),
)  # fmt: skip
def test_whatever_passes_is_taken_by_the_node(width, height, parts, resolution):
    sides = (width, height)
    places = [[part * sides[axis % 2] for axis, part in enumerate(box)] for box in parts]
    size = fitted_size(width, height, resolution)
    for each in (places, [box[:2] for box in places]):
        try:
            found = in_fitted(each, picture(width, height), size)
        except JobError:
            continue
        labels = json.dumps([1] * 2) if len(found[0]) == 2 else ""
        boxes, points = (json.dumps(found), "") if not labels else ("", json.dumps(found))
        parse_prompt(boxes, points, labels, *size)
