"""workflows/segment.json on real ComfyUI: files, what is told beside them, and transformers' own masks to the bit."""

import json
import shutil
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from demo.sample import ASSETS
from demo.tiny_sam2 import NAME
from tests.nodes.sam2_directly import Sam2Directly
from worker.graph import load_graph

from .observing import observe

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

GRAPH = load_graph(Path(__file__).parents[2] / "workflows" / "segment.json")
IMAGE, SEGMENT, SAVE = ("Image", "LoadImage"), ("Segment image", "CMSegmentImage"), ("Save masks", "CMSaveMasks")
BOXES = [[190, 100, 553, 1210], [285, 100, 450, 300], [0, 0, 720, 1280], [240, 1100, 480, 1210], [10.5, 20, 90, 200.25]]
POINTS, LABELS = [[365, 500], [365, 250], [20, 20]], [1, 1, 0]


@pytest.fixture(scope="module")
def directly(models, tmp_path_factory):
    return Sam2Directly(models / "sam2" / f"{NAME}.safetensors", tmp_path_factory.mktemp("direct") / "model")


@pytest.fixture
def picture(engine) -> str:
    folder = engine.input_dir / "segment"
    folder.mkdir(exist_ok=True)
    shutil.copy(ASSETS / "person.png", folder)
    return "segment/person.png"


def person() -> Image.Image:
    with Image.open(ASSETS / "person.png") as image:
        return image.convert("RGB")


async def segment(engine, picture: str, **prompts: list) -> dict:
    """Everything a client sees of one prompt; `boxes`, `points`, `point_labels` where they are given."""
    texts = {"boxes": "", "points": "", "point_labels": ""}
    texts |= {name: json.dumps(value) for name, value in prompts.items()}
    prefix = f"{uuid.uuid4().hex}/mask"
    graph = GRAPH.bind({IMAGE: {"image": picture}, SEGMENT: texts, SAVE: {"filename_prefix": prefix}})
    return await observe(engine.base_url, graph)


def told(seen: dict) -> dict:
    """What Save masks says in /history."""
    status, history = seen["history"]
    assert status == 200, history
    [record] = history.values()
    assert record["status"]["status_str"] == "success", record["status"]
    [outputs] = record["outputs"].values()
    return outputs


def read(engine, outputs: dict) -> torch.Tensor:
    """The PNGs as masks, bool [n, h, w]."""
    masks = []
    for saved in outputs["images"]:
        assert saved["type"] == "output"
        with Image.open(engine.output_dir / saved["subfolder"] / saved["filename"]) as png:
            assert (png.mode, png.info) == ("L", {})
            levels = np.asarray(png)
        assert set(np.unique(levels)) <= {0, 255}
        masks.append(torch.from_numpy(levels > 0))
    return torch.stack(masks)


def box_of(mask: torch.Tensor) -> list[int]:
    rows, columns = np.nonzero(mask.numpy())
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


async def test_five_boxes_give_five_files_with_scores_and_boxes(engine, directly, picture):
    outputs = told(await segment(engine, picture, boxes=BOXES))
    assert [Path(saved["filename"]).name for saved in outputs["images"]] == [f"mask_0000{n}_.png" for n in range(1, 6)]
    masks = read(engine, outputs)
    assert masks.shape == (5, 1280, 720)
    image = person()
    wanted = directly(image, multimask=False, input_boxes=[BOXES])
    assert torch.equal(masks, wanted.masks[:, 0])
    assert [about["score"] for about in outputs["masks"]] == wanted.scores[:, 0].tolist()
    assert [about["bbox"] for about in outputs["masks"]] == [box_of(mask) for mask in masks]
    others = directly(image, multimask=False, input_boxes=[BOXES[::-1]])
    assert not torch.equal(masks, others.masks[:, 0]), "the order of the boxes makes no difference"
    assert not torch.equal(masks, wanted.masks[:, 0].roll(1, dims=2))


async def test_points_give_the_best_of_three(engine, directly, picture):
    outputs = told(await segment(engine, picture, points=POINTS, point_labels=LABELS))
    wanted = directly(person(), multimask=True, input_points=[[POINTS]], input_labels=[[LABELS]])
    best = int(wanted.scores[0].argmax())
    masks = read(engine, outputs)
    assert torch.equal(masks, wanted.masks[:, best])
    assert outputs["masks"][0]["score"] == float(wanted.scores[0, best])
    assert not any(torch.equal(masks, wanted.masks[:, other]) for other in range(3) if other != best)


async def test_a_box_outside_is_refused_with_its_code(engine, picture):
    seen = await segment(engine, picture, boxes=[[0, 0, 10, 10], [700, 0, 721, 10]])
    [record] = seen["history"][1].values()
    assert record["status"]["status_str"] == "error"
    failure = next(data for kind, data in record["status"]["messages"] if kind == "execution_error")
    assert failure["exception_type"].endswith("MotionError")
    assert failure["exception_message"].startswith("[invalid_value] Box 2 of 2, [700, 0, 721, 10], reaches outside")
    assert "720x1280" in failure["exception_message"]
