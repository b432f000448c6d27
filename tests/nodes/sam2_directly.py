"""SAM2 on one image as transformers does it by itself: its own loading, processor, model and post-processing."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image


class Direct(NamedTuple):
    """masks: bool [prompts, masks a prompt, h, w]. scores: float32 [prompts, masks a prompt]."""

    masks: torch.Tensor
    scores: torch.Tensor


class Sam2Directly:
    """transformers' Sam2Model from the published layout: a folder of config.json and model.safetensors, fp32."""

    def __init__(self, weights: Path, folder: Path):
        from transformers import Sam2ImageProcessor, Sam2Model, Sam2Processor

        folder.mkdir(parents=True)
        shutil.copyfile(weights, folder / "model.safetensors")
        (folder / "config.json").write_text(weights.with_suffix(".json").read_text())
        model: Any = Sam2Model.from_pretrained(folder, dtype=torch.float32)
        self.model = model.eval()
        side = self.model.config.prompt_encoder_config.image_size
        self.processor = Sam2Processor(Sam2ImageProcessor(size={"height": side, "width": side}))

    @torch.no_grad()
    def __call__(self, picture: Image.Image, multimask: bool, **prompts: Any) -> Direct:
        """prompts: input_boxes, or input_points and input_labels, nested as the processor wants them."""
        inputs = self.processor(images=picture, **prompts, return_tensors="pt")
        sizes = inputs.pop("original_sizes")
        found = self.model(**inputs, multimask_output=multimask)
        masks = self.processor.post_process_masks(found.pred_masks, sizes)[0]
        return Direct(masks, found.iou_scores[0])
