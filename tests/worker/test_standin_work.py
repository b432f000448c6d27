"""demo/standin/work.py: what the stand-in leaves of graphs that make a video from a picture, or masks."""

import json
from fractions import Fraction

from PIL import Image

from demo.standin.testcard import Card
from demo.standin.work import Folders, card_of, leave_output, steps_of


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}


def scenes(*lengths):
    graph = {str(n): node("WanImageToVideo", width=64, height=32, length=length) for n, length in enumerate(lengths)}
    return graph | {"d": node("CMDecodeVideo", fps=23.976)}


def test_the_card_of_a_video_from_a_picture(tmp_path):
    assert card_of(scenes(81), Folders(tmp_path)) == Card(64, 32, Fraction(24000, 1001), 81, False)
    assert card_of(scenes(81, 5, 17), Folders(tmp_path)).num_frames == 101, "at each joint one frame is shared"
    svd = {"1": node("SVD_img2vid_Conditioning", width=1024, height=576, video_frames=25, fps=6)}
    svd["2"] = node("CMDecodeVideo", fps=6.0)
    assert card_of(svd, Folders(tmp_path)) == Card(1024, 576, Fraction(6), 25, False)
    svd["3"] = node("CMCompositeMotion", width=800, height=600)
    assert card_of(svd, Folders(tmp_path)).width == 800
    assert card_of({"1": node("EmptyImage")}, Folders(tmp_path)) == Card()


def test_a_mask_for_every_box_and_what_is_said_of_it(tmp_path):
    graph = {"1": node("CMSegmentImage", boxes=json.dumps([[0, 0, 8, 8], [1, 1, 4, 4]]))}
    graph["2"] = node("CMSaveMasks", filename_prefix="job/mask")
    left = leave_output(graph["2"], graph, Folders(tmp_path), Card())
    assert [item["filename"] for item in left["images"]] == ["mask_00001_.png", "mask_00002_.png"]
    assert [mask["bbox"] for mask in left["masks"]] == [[0, 0, 8, 8], [1, 1, 4, 4]]
    with Image.open(tmp_path / "output" / "job" / "mask_00002_.png") as picture:
        assert picture.mode == "L"
    points = {"1": node("CMSegmentImage", boxes="", points="[[1, 1]]"), "2": graph["2"]}
    assert len(leave_output(points["2"], points, Folders(tmp_path), Card())["images"]) == 1


def test_sampling_of_two_experts_reports_steps():
    graph = {"1": node("BasicScheduler", steps=40), "2": node("SamplerCustomAdvanced")}
    assert steps_of(graph["2"], graph, Card()) == (1, 40)
