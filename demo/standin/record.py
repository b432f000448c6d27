"""Records object_info.json from the real ComfyUI: `python -m demo.standin.record`.

Run it again when a node's inputs change or a graph uses a new class; tests/engine/test_standin_matches.py says
when. Only the classes that the graphs of workflows/ use are recorded, and those of CORE_CLASSES, which the tests
need. ComfyUI is started with marker files in every model folder, so that a choice which lists files is told from
one which lists names; the files are then left out, and the choice is marked (graph_check.FILES).
"""

import argparse
import asyncio
import copy
import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from demo.standin.graph_check import FILES
from demo.standin.server import RECORDED
from worker.engine import Engine
from worker.find_comfyui import PROJECT_ROOT
from worker.launch import MODEL_FOLDERS
from worker.settings import Settings

MARKER = "standin-marker"
SUFFIXES = (".safetensors", ".onnx", ".pt", ".pth", ".yaml")
CORE_CLASSES = (
    "BatchMasksNode",
    "EmptyImage",
    "SaveImage",
    "PreviewImage",
    "VAELoader",
    "VAEDecode",
    "EmptyLatentImage",
)


def classes_of_graphs(folder: Path) -> set[str]:
    """Every class_type in the API-format files of a folder."""
    graphs = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return {node["class_type"] for graph in graphs for node in graph.values()}


def place_markers(model_path: Path, input_dir: Path) -> None:
    """A marker in every folder from which ComfyUI lists files."""
    for folder in (model_path / name for name in MODEL_FOLDERS):
        folder.mkdir(parents=True, exist_ok=True)
        for suffix in SUFFIXES:
            (folder / f"{MARKER}{suffix}").touch()
    input_dir.mkdir(parents=True, exist_ok=True)
    for name in (f"{MARKER}.png", f"{MARKER}.mp4"):
        (input_dir / name).touch()


def normalised(description: dict[str, Any]) -> dict[str, Any]:
    """A class as recorded: choices that list files are emptied of them and marked."""
    description = copy.deepcopy(description)
    for group in ("required", "optional"):
        for spec in description["input"].get(group, {}).values():
            old_form = isinstance(spec[0], list)
            if len(spec) == 1:
                spec.append({})
            choices = spec[0] if old_form else spec[1].get("options", []) if spec[0] == "COMBO" else []
            kept = [choice for choice in choices if MARKER not in str(choice)]
            if len(kept) < len(choices):
                spec[1][FILES] = True
                choices[:] = kept
                spec[1].pop("default", None)  # ComfyUI's default for files is the first one there is
    return description


async def record(classes: Iterable[str], work_path: Path) -> dict[str, Any]:
    """{class: description} from the real ComfyUI, started for this in `work_path`; what it does not have is absent."""
    settings = Settings(work_path=work_path, model_path=work_path / "models")
    engine = Engine(settings, device="cpu")
    place_markers(settings.model_path, engine.input_dir)
    try:
        await engine.start()
        await engine.wait_ready()
        async with engine.client() as client:
            everything = await client.object_info()
    finally:
        await engine.stop()
    return {name: normalised(everything[name]) for name in sorted(classes) if name in everything}


def main() -> int:
    """Record, write, and say what is missing."""
    about = "Record object_info.json from the real ComfyUI."
    parser = argparse.ArgumentParser(prog="python -m demo.standin.record", description=about)
    parser.add_argument("--workflows", type=Path, default=PROJECT_ROOT / "workflows", help="folder of API graphs")
    parser.add_argument("--out", type=Path, default=RECORDED, help="file to write")
    parser.add_argument("--allow-missing", action="store_true", help="write even where ComfyUI lacks a class")
    options = parser.parse_args()
    classes = classes_of_graphs(options.workflows) | set(CORE_CLASSES)
    with tempfile.TemporaryDirectory() as work:
        info = asyncio.run(record(classes, Path(work)))
    missing = sorted(classes - set(info))
    if missing:
        print(f"ComfyUI has no {', '.join(missing)}: did the node pack fail to load?", file=sys.stderr)
        if not options.allow_missing:
            return 1
    text = json.dumps(info, indent=1, ensure_ascii=False)
    options.out.write_text(text + "\n", encoding="utf-8")
    print(f"{len(info)} classes recorded in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
