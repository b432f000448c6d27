"""One progress bar over all windows, and which window is being made."""

import sys
from collections.abc import Callable
from typing import Any

import torch

from .windows import Window

EXTRA = 2  # besides its steps a window counts one for encoding and one for decoding


class WindowProgress:
    """Reports to ComfyUI: the bar's value is what is done over all windows, and a text says "window n of m"."""

    def __init__(self, model: Any, num_windows: int, steps: int, node_id: Any):
        import comfy.utils
        import latent_preview

        self._steps, self._num_windows, self._node_id = steps, num_windows, node_id
        self._done = 0
        self._bar = comfy.utils.ProgressBar(num_windows * (steps + EXTRA), node_id=node_id)
        self._previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)

    def begin(self, window: Window) -> None:
        """Window `window` begins."""
        self._done = window.index * (self._steps + EXTRA)
        self._bar.update_absolute(self._done)
        send_text(f"window {window.index + 1} of {self._num_windows}", self._node_id)

    def encoded(self) -> None:
        """The window's input is ready."""
        self._advance(1)

    def decoded(self) -> None:
        """The window's pictures are there. A sampler may have reported fewer steps than it was given."""
        windows = self._done // (self._steps + EXTRA) + 1
        self._done = windows * (self._steps + EXTRA)
        self._bar.update_absolute(self._done)

    def callback(self, trim_latent: int) -> Callable[[int, torch.Tensor, torch.Tensor, int], None]:
        """For one sampling; the preview shows the first frame made, not the reference in front of it."""
        before = self._done

        def after_step(step: int, denoised: torch.Tensor, _x: torch.Tensor, _total: int) -> None:
            preview = None
            if self._previewer is not None:
                preview = self._previewer.decode_latent_to_preview_image("JPEG", denoised[:, :, trim_latent:])
            self._done = before + min(step + 1, self._steps)
            self._bar.update_absolute(self._done, preview=preview)

        return after_step

    def _advance(self, amount: int) -> None:
        self._done += amount
        self._bar.update_absolute(self._done)


def send_text(text: str, node_id: Any) -> None:
    """Shows a line under the node in the editor and to websocket clients; nothing where no server runs."""
    server = getattr(sys.modules.get("server"), "PromptServer", None)
    instance = getattr(server, "instance", None)
    if instance is not None and node_id is not None:
        instance.send_progress_text(text, node_id, instance.client_id)
