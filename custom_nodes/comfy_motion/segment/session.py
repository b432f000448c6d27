"""transformers' SAM2 video session without the video in it.

The library's own session holds every frame as a normalised float picture and every frame's result for as long as it
lives: at 1024x1024 that is 12 MB in and 5 MB out for each frame. This one asks for a frame when the model does, and
forgets each result as soon as no later frame can look at it.
"""

from collections.abc import Callable

import numpy as np
import torch
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from ..video.frames import Frames
from .model import Sam2


class StreamedSession(Sam2VideoInferenceSession):
    """A session over the frames start..stop-1 of a video, numbered from 0, following one object."""

    OBJECT = 1

    def __init__(self, frames: Frames, start: int, stop: int, sam2: Sam2, device: torch.device):
        super().__init__(
            video_height=frames.height,
            video_width=frames.width,
            inference_device=device,
            inference_state_device=device,
            video_storage_device=device,
            dtype=sam2.dtype,
        )
        self._frames, self._start, self._length, self._sam2 = frames, start, stop - start, sam2
        # How far back tracking looks: whole memories for the attention, pointers alone farther still.
        self._memories = sam2.model.config.num_maskmem - 1
        self._pointers = sam2.model.config.max_object_pointers_in_encoder - 1

    @property
    def num_frames(self) -> int:
        """Length of the segment; the model numbers and bounds its look back with it."""
        return self._length

    def get_frame(self, frame_idx: int) -> torch.Tensor:
        """One frame as the image encoder wants it: float [3, S, S] on the device."""
        number = self._start + frame_idx
        # Contiguous, because the layout in memory goes on to the convolutions and decides how they round.
        picture = self._frames.read(number, number + 1).permute(0, 3, 1, 2).contiguous()
        processed = self._sam2.processor.video_processor(
            videos=picture, device=self.inference_device, return_tensors="pt"
        )
        return processed.pixel_values_videos[0, 0].to(self.inference_device, self.dtype)

    def prompt(self, frame_idx: int, points: list[list[float]]) -> None:
        """Foreground points [[x, y], ...] in pixels of the frames, for the next call of the model on that frame."""
        self._sam2.processor.add_inputs_to_inference_session(
            self, frame_idx, self.OBJECT, input_points=[[points]], input_labels=[[[1] * len(points)]]
        )

    def forget(self, frame_idx: int) -> None:
        """Drops what no frame after `frame_idx` will read. Call after each frame, in order.

        Of a prompted frame the memory and the pointer stay for good, the mask until its turn came; of a tracked one
        the memory stays for num_maskmem - 1 frames and the pointer for max_object_pointers_in_encoder - 1.
        """
        outputs = self.output_dict_per_obj[0]
        for index, output in outputs["cond_frame_outputs"].items():
            output.pop("high_res_masks", None)
            if index <= frame_idx:
                output.pop("pred_masks", None)
        tracked = outputs["non_cond_frame_outputs"]
        for index in list(tracked):
            age = frame_idx + 1 - index
            if age > max(self._memories, self._pointers):
                del tracked[index]
                continue
            unused = ["pred_masks", "high_res_masks", "object_score_logits"]
            if age > self._memories:
                unused += ["maskmem_features", "maskmem_pos_enc"]
            for name in unused:
                tracked[index].pop(name, None)
        self.frames_tracked_per_obj[0].clear()


Prompts = dict[int, list[list[float]]]


def track_segment(
    frames: Frames,
    start: int,
    stop: int,
    prompts: Prompts,
    sam2: Sam2,
    take: Callable[[np.ndarray], None],
    encoded: Callable[[], None],
) -> None:
    """Follows the object prompted on some frames through the frames start..stop-1, the first one being prompted.

    `prompts`: by frame number counted from `start`, the foreground points. `take` gets each frame's mask in order,
    bool [height, width], thresholded at 0 at the frames' own size; `encoded` is called whenever
    another frame has been through the image encoder, which is once a frame.
    """
    session = StreamedSession(frames, start, stop, sam2, sam2.ready())
    for index in sorted(prompts):
        session.prompt(index, prompts[index])
        sam2.model(session, frame_idx=index)
        session.forget(-1)
        encoded()
    size = [(frames.height, frames.width)]
    for index in range(stop - start):
        # A prompted frame's mask is there already and is given back as it is.
        logits = sam2.model(session, frame_idx=index).pred_masks
        take(sam2.processor.post_process_masks([logits.float()], size)[0][0, 0].cpu().numpy())
        session.forget(index)
        if index not in prompts:
            encoded()
