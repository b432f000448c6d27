"""SAM2 on one image: masks, scores and tight boxes from boxes or points.

The numbers are transformers' own, to the last bit: its processor, its Sam2Model, its post-processing. The weights are
those of the video model (segment/model.py), and the image encoder runs once, whatever the number of prompts.
"""

from typing import TYPE_CHECKING, Any, TypedDict

import cv2
import torch

from ..errors import MotionError
from .prompts import Boxes, Points

if TYPE_CHECKING:
    from .model import Sam2


class Segment(TypedDict):
    """score: SAM2's own estimate of the mask's intersection over union, 0..1. bbox: see `tight_box`."""

    score: float
    bbox: list[int] | None


def segment_image(sam2: "Sam2", picture: torch.Tensor, prompt: Boxes | Points) -> tuple[torch.Tensor, list[Segment]]:
    """The masks of a picture, uint8 [h, w, 3], and what is known of each, in the order of the prompts.

    Masks: bool [n, h, w] on the CPU, logits above 0 at the picture's own size; a mask may be empty. Boxes are decoded
    in one pass to one mask each. All points together give one mask, the best by score of the three that SAM2 makes of
    an ambiguous prompt; both as SAM's authors recommend. Raises MotionError empty_mask when no mask has a pixel.
    """
    logits, scores = _predict(sam2, picture, prompt)
    size = picture.shape[:2]
    masks = torch.empty((len(logits), *size), dtype=torch.bool)
    for number, each in enumerate(logits):
        # One by one, because at the picture's own size the logits of all would be four times the masks.
        masks[number] = sam2.processor.post_process_masks([each[None, None]], [tuple(size)])[0][0, 0].cpu()
    segments: list[Segment] = [
        {"score": score, "bbox": tight_box(mask)} for mask, score in zip(masks, scores.tolist(), strict=True)
    ]
    if not any(segment["bbox"] for segment in segments):
        asked = f"{len(segments)} box(es)" if isinstance(prompt, Boxes) else f"{len(prompt.points)} point(s)"
        raise MotionError(
            "empty_mask",
            f"SAM2 ({sam2.name}) found no object at any of the {asked}.",
            "Draw the box close around one object, or put a point labelled 1 in the middle of it.",
        )
    return masks, segments


def tight_box(mask: torch.Tensor) -> list[int] | None:
    """The smallest box around a mask, bool [h, w], as [x1, y1, x2, y2] in pixels; None if it is empty.

    x2 and y2 are the right and lower edge, one more than the last pixel: a box can be sent back as a prompt, its
    width is x2 - x1, and the whole image's is [0, 0, width, height].
    """
    left, top, width, height = cv2.boundingRect(mask.to(torch.uint8).numpy())
    return [left, top, left + width, top + height] if width else None


@torch.no_grad()
def _predict(sam2: "Sam2", picture: torch.Tensor, prompt: Boxes | Points) -> tuple[torch.Tensor, torch.Tensor]:
    """Mask logits, float32 [n, s, s] at a quarter of the network's size, and scores, float32 [n]."""
    from transformers import Sam2Processor

    device = sam2.ready()
    model = sam2.image_model()
    asked: dict[str, Any]
    if isinstance(prompt, Boxes):
        asked = {"input_boxes": [prompt.boxes]}
    else:
        asked = {"input_points": [[prompt.points]], "input_labels": [[prompt.labels]]}
    processor = Sam2Processor(sam2.processor.image_processor)
    picture = picture.permute(2, 0, 1)
    inputs = processor(images=picture, input_data_format="channels_first", **asked, return_tensors="pt").to(device)
    embeddings = model.get_image_embeddings(inputs.pop("pixel_values").to(sam2.dtype))
    found = model(
        image_embeddings=embeddings,
        multimask_output=isinstance(prompt, Points),
        **{name: inputs[name] for name in inputs if name.startswith("input_")},
    )
    logits, scores = found.pred_masks[0].float(), found.iou_scores[0].float()
    # [n, masks a prompt, s, s]: one mask of each prompt, the best by score where there are several.
    best = scores.argmax(1)
    each = torch.arange(len(best), device=best.device)
    return logits[each, best], scores[each, best]
