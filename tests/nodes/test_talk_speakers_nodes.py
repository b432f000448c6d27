"""nodes/talk_speakers.py in a real ComfyUI process: schemas, the tiny detector's people, refusals, the drawing."""

import types

import pytest
import torch

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.pose.models import PoseModels
from custom_nodes.comfy_motion.talk.speakers import left_and_right, one_speaker
from demo.tiny_detectors import write_tiny_detectors
from tests.engine.comfy_import import import_comfyui

pytestmark = pytest.mark.engine

WIDTH, HEIGHT = 160, 96
ONE, TWO = types.SimpleNamespace(num_voices=1), types.SimpleNamespace(num_voices=2)


@pytest.fixture(scope="module")
def comfy(tmp_path_factory):
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    from custom_nodes.comfy_motion.nodes import talk_speakers

    nodes = {node.define_schema().node_id: node for node in talk_speakers.NODES}
    return types.SimpleNamespace(**nodes, nodes=nodes)


@pytest.fixture(scope="module")
def detectors(tmp_path_factory):
    """The tiny detector's pose models that see 0 to 3 people in every picture that is not flat."""
    folder = tmp_path_factory.mktemp("detectors")
    return [PoseModels(*write_tiny_detectors(folder, people=n, prefix=f"{n}-"), device="cpu") for n in range(4)]


def image_of(count: int = 1, width: int = WIDTH) -> torch.Tensor:
    return torch.rand(count, HEIGHT, width, 3, generator=torch.Generator().manual_seed(1))


def masks_of(*columns: tuple[int, int]) -> torch.Tensor:
    masks = torch.zeros(len(columns), HEIGHT, WIDTH)
    for mask, (left, right) in zip(masks, columns, strict=True):
        mask[8:90, left:right] = 1
    return masks


def test_ids_inputs_and_outputs_are_the_ones_of_the_graph(comfy):
    def shape(node):
        schema = node.define_schema()
        assert all(i.tooltip for i in schema.inputs)
        assert schema.category == "comfy-motion/multitalk"
        assert node.GET_NODE_INFO_V1()
        return [(i.id, i.get_io_type(), i.optional) for i in schema.inputs], [o.get_io_type() for o in schema.outputs]

    assert {name: shape(node) for name, node in comfy.nodes.items()} == {
        "CMSpeakers": (
            [
                ("image", "IMAGE", False),
                ("pose_models", "CM_POSE_MODELS", False),
                ("voices", "CM_VOICES", False),
                ("masks", "MASK", True),
            ],
            ["CM_SPEAKERS"],
        ),
        "CMDrawSpeakers": ([("image", "IMAGE", False), ("speakers", "CM_SPEAKERS", False)], ["IMAGE"]),
    }


def test_two_voices_are_left_and_right_where_both_halves_have_a_person(comfy, detectors):
    speakers = comfy.CMSpeakers.execute(image_of(), detectors[3], TWO)[0]
    assert speakers.names == ("audio_1 / left", "audio_2 / right")
    assert torch.equal(speakers.rows, left_and_right(WIDTH, HEIGHT).rows)
    assert detectors[3].detector._session is None, "the detector's memory is given back"


def test_masks_say_who_speaks_even_if_the_detector_sees_one(comfy, detectors):
    masks = masks_of((90, 130), (10, 60))
    for models in detectors[1:]:
        speakers = comfy.CMSpeakers.execute(image_of(), models, TWO, masks)[0]
        assert torch.equal(speakers.rows[:2], masks)
        assert torch.equal(speakers.rows[2], 1 - masks.sum(0))


def test_one_voice_needs_somebody_and_no_masks(comfy, detectors):
    for masks in (None, masks_of((90, 130)), masks_of((0, 0), (0, 0))):
        speakers = comfy.CMSpeakers.execute(image_of(), detectors[1], ONE, masks)[0]
        assert speakers.names == ("audio_1 / whole picture",)
        assert torch.equal(speakers.rows, one_speaker(WIDTH, HEIGHT).rows)


@pytest.mark.parametrize(
    ("people", "image", "voices", "masks", "code"),
    [
        (0, image_of(), ONE, None, "no_person"),
        (0, image_of(), TWO, None, "no_person"),
        (0, image_of(), TWO, masks_of((10, 60), (90, 130)), "no_person"),
        (3, torch.full((1, HEIGHT, WIDTH, 3), 0.5), ONE, None, "no_person"),
        (1, image_of(), TWO, None, "one_person"),
        (2, image_of(width=152), TWO, None, "one_person"),  # 75.5 and 30 of 152: both are in the left half
        (3, image_of(), TWO, masks_of((10, 60), (20, 70)), "speakers_overlap"),
        (3, image_of(), TWO, masks_of((10, 60), (90, 90)), "empty_mask"),
        (3, image_of(), TWO, masks_of((10, 60)), "invalid_value"),
        (3, image_of(width=144), TWO, masks_of((10, 60), (90, 130)), "invalid_value"),
        (3, image_of(2), TWO, None, "invalid_value"),
    ],
)
def test_refusals(comfy, detectors, people, image, voices, masks, code):
    with pytest.raises(MotionError) as refused:
        comfy.CMSpeakers.execute(image, detectors[people], voices, masks)
    assert refused.value.code == code
    assert refused.value.hint
    assert detectors[people].detector._session is None


def test_drawn_speakers_are_an_image_of_the_same_size(comfy):
    image = image_of()
    drawn = comfy.CMDrawSpeakers.execute(image, left_and_right(WIDTH, HEIGHT))[0]
    assert (drawn.shape, drawn.dtype) == (image.shape, torch.float32)
    assert 0 <= drawn.min() < drawn.max() <= 1
    assert (drawn - image).abs().amax(-1)[0, 20:60, 20:60].gt(0.01).float().mean() > 0.9
    with pytest.raises(MotionError, match=r"\[invalid_value\] The picture is 160x96 pixels, the speakers' is 96x160"):
        comfy.CMDrawSpeakers.execute(image, left_and_right(96, 160))
    with pytest.raises(MotionError, match="There are 2 pictures"):
        comfy.CMDrawSpeakers.execute(image_of(2), left_and_right(WIDTH, HEIGHT))
