"""nodes/segment_image.py in a real ComfyUI process: schemas, refusals, the files and what is told beside them."""

import json
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.segment.model import Sam2
from demo.tiny_sam2 import write_tiny_sam2
from tests.engine.comfy_import import import_comfyui

pytestmark = pytest.mark.engine

BOX = "[[5, 5, 60, 40]]"


@pytest.fixture(scope="module")
def comfy(tmp_path_factory):
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    import comfy.cli_args
    import folder_paths
    from comfy_api.latest import io

    from custom_nodes.comfy_motion.nodes import NODES, segment_image

    nodes = {node.define_schema().node_id: node for node in segment_image.NODES}
    assert set(segment_image.NODES) <= set(NODES), "the pack does not offer these nodes"
    return types.SimpleNamespace(**nodes, nodes=nodes, args=comfy.cli_args.args, paths=folder_paths, Hidden=io.Hidden)


@pytest.fixture(scope="module")
def sam2(comfy, tmp_path_factory):
    return Sam2.load(write_tiny_sam2(tmp_path_factory.mktemp("sam2")), "fp32")


@pytest.fixture
def output(comfy, tmp_path, monkeypatch):
    monkeypatch.setattr(comfy.paths, "output_directory", str(tmp_path))
    return tmp_path


def image_of(count: int = 1) -> torch.Tensor:
    return torch.rand(count, 48, 70, 3, generator=torch.Generator().manual_seed(1))


def masks_of(*boxes: list[int]) -> torch.Tensor:
    masks = torch.zeros(len(boxes), 48, 70)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 1
    return masks


def save(comfy, masks: torch.Tensor, segments: list, prefix: str = "job/mask"):
    hidden = {comfy.Hidden.prompt: {"7": {"class_type": "CMSaveMasks"}}, comfy.Hidden.extra_pnginfo: {"workflow": {}}}
    return comfy.CMSaveMasks.PREPARE_CLASS_CLONE({"hidden_inputs": hidden}).execute(masks, segments, prefix)


def test_ids_inputs_and_outputs_are_the_ones_of_the_graph(comfy):
    def shape(node):
        schema = node.define_schema()
        assert all(i.tooltip for i in schema.inputs)
        assert node.GET_NODE_INFO_V1()
        return [i.id for i in schema.inputs], [o.get_io_type() for o in schema.outputs], schema.is_output_node

    assert {name: shape(node) for name, node in comfy.nodes.items()} == {
        "CMSegmentImage": (["sam2", "image", "boxes", "points", "point_labels"], ["MASK", "CM_SEGMENTS"], False),
        "CMSaveMasks": (["masks", "segments", "filename_prefix"], [], True),
        "CMDrawMasks": (["image", "masks"], ["IMAGE"], False),
    }


def test_a_mask_a_box_with_score_and_tight_box(comfy, sam2):
    masks, segments = comfy.CMSegmentImage.execute(sam2, image_of(), "[[5,5,60,40],[0,0,70,48]]", "", "").args
    assert (masks.shape, masks.dtype, set(masks.unique().tolist())) == ((2, 48, 70), torch.float32, {0.0, 1.0})
    for mask, segment in zip(masks, segments, strict=True):
        left, top, right, bottom = segment["bbox"]
        assert mask[top:bottom, left:right].sum() == mask.sum() > 0
        assert 0 < segment["score"] < 1


@pytest.mark.parametrize(
    ("count", "texts", "words"),
    [
        (2, (BOX, "", ""), "There are 2 images"),
        (1, ("[[5,5,71,40]]", "", ""), r"Box 1 of 1, \[5, 5, 71, 40\], reaches outside the image; the image is 70x48"),
        (1, ("[[5,5,60", "", ""), "boxes is no JSON"),
        (1, ("", "[[5,5]]", ""), "1 points and no point_labels"),
        (1, (BOX, "[[5,5]]", "[1]"), "both boxes and points"),
        (1, ("", "", ""), "no box and no point"),
    ],
)
def test_bad_input_is_refused_before_the_model_runs(comfy, count, texts, words):
    with pytest.raises(MotionError, match=rf"\[invalid_value\] .*{words}"):
        comfy.CMSegmentImage.execute(None, image_of(count), *texts)


def test_pngs_are_grey_black_and_white_and_told_in_the_order_of_the_masks(comfy, output):
    masks = torch.cat([masks_of([1, 2, 30, 40], [60, 40, 70, 48]), torch.full((1, 48, 70), 0.5)])
    segments = [{"score": 0.9, "bbox": [1, 2, 30, 40]}, {"score": 0.5, "bbox": [60, 40, 70, 48]}]
    segments.append({"score": 0.1, "bbox": None})
    told = save(comfy, masks, segments).ui
    assert told["masks"] == json.loads(json.dumps(segments))
    assert told["images"] == [
        {"filename": f"mask_{number:05}_.png", "subfolder": "job", "type": "output"} for number in (1, 2, 3)
    ]
    for mask, saved in zip(masks, told["images"], strict=True):
        with Image.open(output / saved["subfolder"] / saved["filename"]) as picture:
            assert (picture.mode, picture.size) == ("L", (70, 48))
            assert np.array_equal(np.asarray(picture), (mask > 0.5).numpy() * 255)
    assert [saved["filename"] for saved in save(comfy, masks[:1], segments[:1]).ui["images"]] == ["mask_00004_.png"]


@pytest.mark.parametrize("disabled", [False, True])
def test_the_prompt_is_in_the_png_unless_metadata_is_disabled(comfy, output, monkeypatch, disabled):
    monkeypatch.setattr(comfy.args, "disable_metadata", disabled)
    save(comfy, masks_of([1, 2, 3, 4]), [{"score": 1.0, "bbox": [1, 2, 3, 4]}])
    with Image.open(Path(output) / "job" / "mask_00001_.png") as picture:
        texts = picture.info
    wanted = {} if disabled else {"prompt": json.dumps({"7": {"class_type": "CMSaveMasks"}}), "workflow": "{}"}
    assert texts == wanted


def test_masks_and_segments_of_two_places_are_refused(comfy, output):
    with pytest.raises(MotionError, match="2 masks and 1 segments"):
        save(comfy, masks_of([1, 2, 3, 4], [1, 2, 3, 4]), [{"score": 1.0, "bbox": None}])


def test_drawn_masks_change_the_image_where_they_are_and_at_their_outline_only(comfy):
    image = (image_of() * 255).round() / 255
    drawn = comfy.CMDrawMasks.execute(image, masks_of([10, 10, 40, 40], [0, 0, 0, 0]))[0]
    changed = (drawn - image).abs().amax(-1)[0] > 1e-6
    assert drawn.shape == image.shape
    assert changed[12:38, 12:38].float().mean() > 0.95
    outside = changed.clone()
    outside[8:42, 8:42] = False
    assert not outside.any()
    assert torch.equal(comfy.CMDrawMasks.execute(image, masks_of([0, 0, 0, 0]))[0], image)
    with pytest.raises(MotionError, match="70x47 and 70x48"):
        comfy.CMDrawMasks.execute(image, masks_of([1, 1, 2, 2])[:, :47])
