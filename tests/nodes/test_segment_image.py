"""SAM2 on one image against transformers called directly: the same bits, from weights that are there once."""

import numpy as np
import pytest
import torch
from PIL import Image

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.segment.image import segment_image, tight_box
from custom_nodes.comfy_motion.segment.model import Sam2
from custom_nodes.comfy_motion.segment.prompts import Boxes, Points
from custom_nodes.comfy_motion.segment.session import track_segment
from custom_nodes.comfy_motion.video.frames import TensorFrames
from demo.tiny_sam2 import write_tiny_sam2

from .sam2_directly import Sam2Directly

SIZES = [(128, 128), (97, 131), (333, 61), (200, 120)]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny_sam2(tmp_path_factory.mktemp("sam2"))


@pytest.fixture(scope="module")
def directly(weights, tmp_path_factory):
    return Sam2Directly(weights, tmp_path_factory.mktemp("direct") / "model")


@pytest.fixture
def sam2(weights):
    return Sam2.load(weights, "fp32")


def picture_of(width: int, height: int) -> Image.Image:
    """Soft random colours with noise on them."""
    rng = np.random.default_rng(width * height)
    soft = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).resize((width, height))
    return Image.fromarray((np.asarray(soft) * 0.8 + rng.integers(0, 50, (height, width, 3))).astype(np.uint8))


def pixels(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture))


def boxes_of(count: int, width: int, height: int) -> list[list[float]]:
    """Boxes in every corner and size; the first is the whole picture."""
    rng = np.random.default_rng(1)
    corners = np.sort(rng.random((count, 2, 2)) * [width, height], axis=1)
    return [[0.0, 0.0, float(width), float(height)], *corners.reshape(count, 4).tolist()[1:]]


def points_of(width: int, height: int) -> Points:
    return Points([[0.5 * width, 0.4 * height], [0.1 * width, 0.9 * height], [width - 1.0, 0.0]], [1, 0, 1])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("count", [1, 5])
def test_boxes_give_transformers_own_masks_and_scores(sam2, directly, size, count):
    picture, boxes = picture_of(*size), boxes_of(count, *size)
    masks, segments = segment_image(sam2, pixels(picture), Boxes(boxes))
    wanted = directly(picture, multimask=False, input_boxes=[boxes])
    assert masks.shape == (count, size[1], size[0])
    assert torch.equal(masks, wanted.masks[:, 0])
    assert [segment["score"] for segment in segments] == wanted.scores[:, 0].tolist()
    assert 0.05 < masks.float().mean() < 0.5


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_points_give_the_best_of_transformers_three_masks(sam2, directly, size):
    picture, prompt = picture_of(*size), points_of(*size)
    masks, segments = segment_image(sam2, pixels(picture), prompt)
    wanted = directly(picture, multimask=True, input_points=[[prompt.points]], input_labels=[[prompt.labels]])
    best = int(wanted.scores[0].argmax())
    assert torch.equal(masks, wanted.masks[:, best])
    assert [segment["score"] for segment in segments] == [float(wanted.scores[0, best])]


def test_the_comparison_sees_what_a_mistake_would_change(sam2, directly):
    """A mask a pixel off, a box or point moved, a label turned round, colours swapped, another of the masks."""
    size, height = (200, 120), 120
    picture, [whole, box] = picture_of(*size), boxes_of(2, *size)
    masks, _ = segment_image(sam2, pixels(picture), Boxes([whole, box]))
    assert not torch.equal(masks, masks.roll(1, dims=2))
    moved = [box[0] - 5, box[1], box[2] - 5, box[3]]
    swapped = Image.fromarray(np.asarray(picture)[:, :, ::-1].copy())
    assert not torch.equal(masks[1], directly(picture, False, input_boxes=[[moved]]).masks[0, 0])
    assert not torch.equal(masks[1], directly(swapped, False, input_boxes=[[box]]).masks[0, 0])
    assert not torch.equal(masks[0], masks[1])
    three = directly(picture, True, input_boxes=[[box]]).masks[0]
    assert not any(torch.equal(masks[1], other) for other in three)
    prompt = points_of(*size)
    masks, _ = segment_image(sam2, pixels(picture), prompt)
    asked = {"input_points": [[prompt.points]], "input_labels": [[prompt.labels]]}
    found = directly(picture, True, **asked)
    others = [found.masks[0, index] for index in range(3) if index != int(found.scores[0].argmax())]
    others.append(directly(picture, False, **asked).masks[0, 0])
    for change in (
        {"input_labels": [[[1, 1, 1]]]},
        {"input_points": [[[[x, height - 1 - y] for x, y in prompt.points]]]},
    ):
        other = directly(picture, True, **{**asked, **change})
        others.append(other.masks[0, int(other.scores[0].argmax())])
    assert not any(torch.equal(masks[0], other) for other in others)


@pytest.mark.parametrize("prompt", [Boxes(boxes_of(5, 97, 131)), points_of(97, 131)], ids=["boxes", "points"])
def test_encoder_and_decoder_run_once_whatever_the_number_of_prompts(sam2, prompt):
    calls = {"vision_encoder": 0, "mask_decoder": 0}

    def count(name: str) -> None:
        calls[name] += 1

    for name in calls:
        getattr(sam2.model, name).register_forward_hook(lambda *_, name=name: count(name))
    segment_image(sam2, pixels(picture_of(97, 131)), prompt)
    assert calls == {"vision_encoder": 1, "mask_decoder": 1}


def test_the_weights_are_there_once(sam2, directly):
    """Every tensor of the image model is the video model's own, and none of transformers' own is missing."""
    sam2.ready()
    image, video = sam2.image_model(), sam2.model.state_dict()
    assert image is sam2.image_model()
    assert image.state_dict().keys() == directly.model.state_dict().keys()
    assert {name: value.data_ptr() for name, value in image.state_dict().items()} == {
        name: video[name].data_ptr() for name in image.state_dict()
    }
    assert not any(value.is_meta for value in image.state_dict().values())
    parts = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    ours, theirs = image.config.to_dict(), directly.model.config.to_dict()
    noise = {"dtype", "_name_or_path", "transformers_version"}
    for part in parts:
        assert {k: v for k, v in ours[part].items() if k not in noise} == {
            k: v for k, v in theirs[part].items() if k not in noise
        }


def test_a_weight_put_in_anew_is_seen_by_the_image_model(sam2):
    """As memory management may do, to any module and to the model's own parameter."""
    picture, prompt = pixels(picture_of(128, 128)), Boxes(boxes_of(1, 128, 128))
    before, _ = segment_image(sam2, picture, prompt)
    sam2.model.no_memory_embedding = torch.nn.Parameter(sam2.model.no_memory_embedding + 5, requires_grad=False)
    after, _ = segment_image(sam2, picture, prompt)
    assert not torch.equal(before, after)


def test_tracking_and_segmenting_do_not_disturb_one_another(sam2):
    frames = TensorFrames(torch.stack([pixels(picture_of(96, 64))] * 3))
    picture, prompt = pixels(picture_of(97, 131)), Boxes(boxes_of(3, 97, 131))

    def track() -> np.ndarray:
        taken: list[np.ndarray] = []
        track_segment(frames, 0, 3, {0: [[48, 30]]}, sam2, taken.append, lambda: None)
        return np.stack(taken)

    tracked = track()
    first, _ = segment_image(sam2, picture, prompt)
    assert np.array_equal(track(), tracked)
    assert torch.equal(segment_image(sam2, picture, prompt)[0], first)


def test_half_precision_works_on_a_cpu(weights):
    masks, segments = segment_image(
        Sam2.load(weights, "bf16"), pixels(picture_of(97, 131)), Boxes(boxes_of(2, 97, 131))
    )
    assert 0.05 < masks.float().mean() < 0.5
    assert all(0 < segment["score"] < 1 for segment in segments)


def without(sam2: Sam2, *numbers: int) -> None:
    """The decoder sees nothing at these prompts."""

    def hide(_module, _inputs, outputs):
        outputs[0][:, list(numbers)] = -1
        return outputs

    sam2.model.mask_decoder.register_forward_hook(hide)


def test_an_empty_mask_has_no_box_and_stays_in_its_place(sam2):
    without(sam2, 0, 2)
    masks, segments = segment_image(sam2, pixels(picture_of(97, 131)), Boxes(boxes_of(4, 97, 131)))
    assert masks.flatten(1).any(1).tolist() == [False, True, False, True]
    assert [segment["bbox"] is None for segment in segments] == [True, False, True, False]


def test_nothing_at_all_is_refused(sam2):
    without(sam2, 0, 1)
    with pytest.raises(MotionError, match=r"\[empty_mask\] .*at any of the 2 box") as caught:
        segment_image(sam2, pixels(picture_of(97, 131)), Boxes(boxes_of(2, 97, 131)))
    assert caught.value.code == "empty_mask"


def test_a_tight_box_ends_where_the_mask_does():
    mask = torch.zeros(20, 30, dtype=torch.bool)
    assert tight_box(mask) is None
    mask[4, 7] = True
    assert tight_box(mask) == [7, 4, 8, 5]
    mask[10, 3] = mask[19, 29] = True
    assert tight_box(mask) == [3, 4, 30, 20]
    assert tight_box(torch.ones(20, 30, dtype=torch.bool)) == [0, 0, 30, 20]
