"""How ComfyUI is launched: its base directory, node packs, environment, flags, port and device.

Everything that it reads and writes of ours is in the base directory, so that its own tree stays untouched.
"""

import importlib.util
import json
import logging
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from worker.errors import JobError

log = logging.getLogger(__name__)

FOLDERS = ("custom_nodes", "input", "output", "temp", "user", "models")
MODEL_FOLDERS = (
    "checkpoints",
    "diffusion_models",
    "loras",
    "vae",
    "clip_vision",
    "text_encoders",
    "model_patches",
    "audio_encoders",
    "detection",
    "sam2",
    "mimicmotion",
    "encoded_prompts",
    "upscale_models",
    "configs",
)
"""Folders under MODEL_PATH that ComfyUI looks into, by its own names where it has one."""

_SECRET = re.compile(
    r"^(MINIO_|AWS_|S3_|R2_|RUNPOD_|COMFYUI_GIT_URL$|HUGGING_FACE_HUB_TOKEN$)"
    r"|(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS|_KEY|_KEY_ID)$",
    re.IGNORECASE,
)


def prepare(base: Path, packs: Iterable[Path], model_path: Path) -> Path:
    """Make the folders, link the node packs in, and write the file for --extra-model-paths-config; gives that file."""
    for name in FOLDERS:
        (base / name).mkdir(parents=True, exist_ok=True)
    link_packs(base / "custom_nodes", packs)
    config = base / "extra_model_paths.yaml"
    places = {"base_path": str(model_path.absolute()), **{name: name for name in MODEL_FOLDERS}}
    config.write_text(json.dumps({"comfy_motion": places}, indent=1) + "\n", encoding="utf-8")  # JSON is YAML
    return config


def link_packs(folder: Path, packs: Iterable[Path]) -> None:
    """Make the links in `folder` exactly these packs. Raises JobError internal where a real file is in the way."""
    wanted = {pack.name: pack.resolve() for pack in packs}
    for entry in folder.iterdir():
        if entry.is_symlink() and wanted.get(entry.name) != entry.resolve():
            entry.unlink()
    for name, pack in wanted.items():
        if not pack.is_dir():
            raise JobError("internal", detail=f"The node pack {pack} is not there.")
        link = folder / name
        if link.is_symlink():
            continue
        if link.exists():
            raise JobError("internal", detail=f"{link} should be a link to {pack}; remove what is there.")
        link.symlink_to(pack, target_is_directory=True)


def environment_for_nodes(environment: Mapping[str, str]) -> dict[str, str]:
    """Our environment without its secrets: node packs and their logs have no business with them."""
    kept = {name: value for name, value in environment.items() if not _SECRET.search(name)}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def flags(base: Path, port: int, config: Path, cpu: bool, sage_attention: bool) -> list[str]:
    """ComfyUI's command line after `main.py`: headless, on this machine only, nothing of the prompt in the files."""
    line = ["--base-directory", str(base), "--listen", "127.0.0.1", "--port", str(port)]
    line += ["--extra-model-paths-config", str(config), "--disable-auto-launch", "--disable-api-nodes"]
    line += ["--disable-metadata", "--database-url", "sqlite:///:memory:"]
    if cpu:
        # Core's choice for a CPU is its sub-quadratic loop; PyTorch's fused attention is exact and needs less memory.
        line += ["--cpu", "--use-pytorch-cross-attention"]
    if sage_attention and importlib.util.find_spec("sageattention") is None:
        log.warning("USE_SAGE_ATTENTION is set, but the package sageattention is not installed; going on without it")
    elif sage_attention:
        line.append("--use-sage-attention")
    return line


def has_gpu() -> bool:
    """Is there an NVIDIA GPU that CUDA may use? Without importing torch, which takes seconds."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    if Path("/dev/nvidia0").exists():
        return True
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    try:
        listed = subprocess.run([program, "-L"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and b"GPU" in listed.stdout


def free_port() -> int:
    """A TCP port of this machine that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
