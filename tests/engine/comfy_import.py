"""Puts a real ComfyUI into the test process, on the CPU and with folders of its own."""

import importlib
import os
import sys
from pathlib import Path

import pytest

VERSION = "0.33.0"
REPOSITORY = Path(__file__).parents[2]


def find_comfyui() -> Path | None:
    """$COMFYUI_PATH, ./.comfyui, or where comfy-cli puts it if that is the pinned version."""
    named = os.environ.get("COMFYUI_PATH")
    if named:
        return Path(named)
    for path in (REPOSITORY / ".comfyui", Path.home() / "comfy" / "ComfyUI"):
        version = path / "comfyui_version.py"
        if version.is_file() and VERSION in version.read_text():
            return path
    return None


def import_comfyui(base: Path) -> Path:
    """Makes `import comfy`, `nodes`, `folder_paths` work in this process; user, models, temp lie under `base`.

    Only the first call counts. Skips the test with the reason when there is no ComfyUI, or fails it where
    REQUIRE_COMFYUI=1 says that there must be one. Must come before anything else imports comfy.
    """
    path = find_comfyui()
    if path is None or not (path / "comfy" / "options.py").is_file():
        reason = f"no ComfyUI v{VERSION}: set COMFYUI_PATH (looked at {path or '.comfyui and ~/comfy/ComfyUI'})"
        if os.environ.get("REQUIRE_COMFYUI") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    if "comfy.cli_args" not in sys.modules:
        sys.path.insert(0, str(path))  # in front: its packages `app` and `utils` must be the ones it finds
        args = importlib.import_module("comfy.cli_args").args
        args.cpu, args.base_directory, args.disable_metadata = True, str(base), True
        for folder in ("models", "custom_nodes", "input", "output", "temp", "user"):
            (base / folder).mkdir(parents=True, exist_ok=True)
    return path
