"""What the benchmarks' nodes measure with, inside ComfyUI."""

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import folder_paths
import torch


def ours(name: str) -> Any:
    """A module of our node pack, as "talk.loop", under whatever name ComfyUI loaded the pack."""
    pack = next(known for known in sys.modules if known.endswith("comfy_motion"))
    return importlib.import_module(f"{pack}.{name}")


def now() -> float:
    """Seconds, with all that the GPU was told done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()


def say(found: dict[str, Any], name: str) -> dict[str, Any]:
    """Writes the figures so far into ComfyUI's output folder; gives what a node returns for such a file."""
    (Path(folder_paths.get_output_directory()) / name).write_text(json.dumps(found, indent=1))
    return {"ui": {"figures": [{"filename": name, "subfolder": "", "type": "output"}]}}


def timed(work: Any) -> tuple[Any, float]:
    began = now()
    made = work()
    return made, now() - began


def relative_l2(a: torch.Tensor, b: torch.Tensor) -> float:
    """How far `b` is from `a`; NaN is neither near nor far and stays NaN."""
    return ((a.double() - b.double()).norm() / a.double().norm()).item()
