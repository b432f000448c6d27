"""What ran: project, ComfyUI, graph and models, returned with every result.

Model files are large (a sha256 of 30 GB takes minutes), so they are hashed once, in a thread in the background,
and the hashes are kept in `<work>/hashes.json` by path, size and time of change. Until a hash is known the
answer says null, and why.
"""

import hashlib
import json
import logging
import os
import subprocess
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from worker.filetype import file_sha256
from worker.find_comfyui import FoundComfyUI

log = logging.getLogger(__name__)

PROJECT_ROOT = Path(__file__).resolve().parent.parent

MODEL_INPUTS: dict[tuple[str, str], str] = {
    ("UNETLoader", "unet_name"): "diffusion_models",
    ("LoraLoaderModelOnly", "lora_name"): "loras",
    ("CLIPLoader", "clip_name"): "text_encoders",
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("VAELoader", "vae_name"): "vae",
    ("ImageOnlyCheckpointLoader", "ckpt_name"): "checkpoints",
    ("CMLoadPoseModels", "detector"): "detection",
    ("CMLoadPoseModels", "pose"): "detection",
    ("CMLoadSAM2", "model"): "sam2",
    ("CMLoadDWPose", "detector"): "detection",
    ("CMLoadDWPose", "pose"): "detection",
    ("CMLoadMimicMotion", "weights"): "mimicmotion",
    ("CMLoadMultiTalk", "name"): "model_patches",
    ("AudioEncoderLoader", "audio_encoder_name"): "audio_encoders",
}
"""Which inputs of which loaders name a model file, and the folder of MODEL_PATH it is in."""


@dataclass(frozen=True)
class ModelFile:
    """One weight of a graph: `name` as the graph has it, `path` or None where it was not found."""

    folder: str
    name: str
    path: Path | None


def models_of(prompt: Mapping[str, Any], roots: Iterable[Path]) -> list[ModelFile]:
    """The model files that a graph loads, each once. `roots`: folders laid out like ComfyUI's models/."""
    wanted: dict[tuple[str, str], None] = {}
    for node in prompt.values():
        for name, value in node["inputs"].items():
            folder = MODEL_INPUTS.get((node["class_type"], name))
            if folder and isinstance(value, str):
                wanted[(folder, value)] = None
    roots = list(roots)
    return [ModelFile(folder, name, _find(roots, folder, name)) for folder, name in wanted]


class Hashes:
    """sha256 of model files, computed once and remembered in a file. Safe to use from several threads."""

    def __init__(self, remembered: Path):
        self._file = remembered
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = _read(remembered)
        self._failed: dict[str, str] = {}
        self._thread: threading.Thread | None = None

    def start(self, paths: Iterable[Path]) -> None:
        """Hash what is not known yet, in a background thread that does not keep the worker from ending."""
        waiting = [path for path in paths if self.known(path) is None]
        if waiting and not (self._thread and self._thread.is_alive()):
            self._thread = threading.Thread(target=self._hash_all, args=(waiting,), name="hashes", daemon=True)
            self._thread.start()

    def wait(self, seconds: float | None = None) -> None:
        """Until the background thread is done (tests and --check)."""
        if self._thread:
            self._thread.join(seconds)

    def known(self, path: Path) -> str | None:
        """The hash, if the file is unchanged since it was computed."""
        with self._lock:
            entry = self._known.get(str(path))
        return entry["sha256"] if entry and entry["stamp"] == _stamp(path) else None

    def entry(self, model: ModelFile) -> dict[str, Any]:
        """The model as the answer shows it: {name, folder, sha256} and, where sha256 is null, `why`."""
        shown: dict[str, Any] = {"name": model.name, "folder": model.folder, "sha256": None}
        if model.path is None:
            return shown | {"why": "the file was not found under MODEL_PATH"}
        shown["sha256"] = self.known(model.path)
        if shown["sha256"] is None:
            with self._lock:
                shown["why"] = self._failed.get(str(model.path), "the hash is still being computed")
        return shown

    def _hash_all(self, paths: list[Path]) -> None:
        for path in paths:
            try:
                stamp, sha256 = _stamp(path), _sha256(path)
            except OSError as error:
                log.warning("no hash of %s: %s", path.name, error)
                with self._lock:
                    self._failed[str(path)] = f"it could not be read: {error.strerror}"
                continue
            with self._lock:
                self._known[str(path)] = {"stamp": stamp, "sha256": sha256}
                _write(self._file, self._known)


def project_version() -> dict[str, str | None]:
    """{version, git}: the package's version, and the commit of COMFY_MOTION_GIT_SHA (set in the image) or of git."""
    try:
        version = metadata.version("comfy-motion")
    except metadata.PackageNotFoundError:
        version = _pyproject_version()
    return {"version": version, "git": os.environ.get("COMFY_MOTION_GIT_SHA") or _git_head()}


def versions(comfyui: FoundComfyUI | None, graph_sha256: str | None, models: list[dict[str, Any]]) -> dict[str, Any]:
    """The `versions` of an answer."""
    found = {"version": comfyui.version, "commit": comfyui.commit} if comfyui else None
    return {"project": project_version(), "comfyui": found, "graph_sha256": graph_sha256, "models": models}


def _find(roots: list[Path], folder: str, name: str) -> Path | None:
    return next((root / folder / name for root in roots if (root / folder / name).exists()), None)


def _stamp(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _sha256(path: Path) -> str:
    """Of a file; of a folder, of the sorted list of its files' names and hashes."""
    if path.is_dir():
        lines = [f"{_sha256(p)}  {p.relative_to(path)}\n" for p in sorted(path.rglob("*")) if p.is_file()]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    return file_sha256(path)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """What was remembered; a missing or broken file only means hashing again."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: v for key, v in known.items() if isinstance(v, dict) and {"stamp", "sha256"} <= v.keys()}


def _write(path: Path, known: Mapping[str, Any]) -> None:
    """Whole or not at all; that it cannot be written is only a warning."""
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known, indent=1), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        log.warning("%s cannot be written: %s", path, error)


def _pyproject_version() -> str | None:
    import tomllib

    try:
        return tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    except (OSError, ValueError, KeyError):
        return None


def _git_head() -> str | None:
    command = ["git", "-C", str(PROJECT_ROOT), "rev-parse", "HEAD"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return said or None
