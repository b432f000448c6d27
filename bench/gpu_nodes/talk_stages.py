"""Where the seconds of our node "Talk" go: its stages and each step of the sampling, line by line in a file."""

import functools
import json
from pathlib import Path
from typing import Any

import folder_paths
import torch

from .measuring import now, ours

STAGES = (
    ("picture (CLIP vision, VAE)", "talk.conditioning", "Conditioner", "window"),
    ("voices to tokens", "talk.loop", "Talk", "_talking"),
    ("sampling", "talk.loop", "Talk", "_sample"),
    ("one step", "talk.guider", "TalkGuider", "predict_noise"),
    ("decoding", "talk.loop", "Models", "decode"),
)


def clock(owner: Any, method: str, stage: str, path: Path) -> None:
    """Each call of owner.method adds a line to the file: {stage, seconds, GiB that torch has reserved at most}."""
    real = getattr(owner, method)

    @functools.wraps(real)
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = now()
        made = real(*args, **kwargs)
        line: dict[str, Any] = {"stage": stage, "seconds": round(now() - began, 4)}
        if torch.cuda.is_available():
            line["reserved_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
            line["allocated_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return made

    setattr(owner, method, timed)


class CMBenchStages:
    """From now on, every talk is timed."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "begin", "comfy-motion/bench", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"path": ("STRING", {})}}

    def begin(self, path: str):
        file = Path(folder_paths.get_output_directory()) / path
        file.write_text("")
        for stage, module, owner, method in STAGES:
            clock(getattr(ours(module), owner), method, stage, file)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        return {"ui": {"figures": [{"filename": path, "subfolder": "", "type": "output"}]}}
