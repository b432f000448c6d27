"""Where ComfyUI is: `$COMFYUI_PATH`, the project's own clone, comfy-cli's place, else a new clone of the pin.

The pin is ComfyUI v0.33.0. Any other version is taken only where COMFYUI_PATH says so, and is reported.
Nothing in a found tree is changed or imported: its version is read as text.
"""

import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from worker.errors import JobError
from worker.settings import Settings

log = logging.getLogger(__name__)

PINNED_VERSION = "0.33.0"
PINNED_COMMIT = "2f35f4a08176d993cded35dac3332be4f7287f41"
PROJECT_ROOT = Path(__file__).resolve().parent.parent
OWN_CLONE = PROJECT_ROOT / ".comfyui"
COMFY_CLI_PLACE = Path("~/comfy/ComfyUI")
CLONE_SECONDS = 300.0


@dataclass(frozen=True)
class FoundComfyUI:
    """A ComfyUI tree. `commit` is None where the tree has no git data; `source` says which rule found it."""

    path: Path
    version: str
    commit: str | None
    source: str

    @property
    def is_pinned(self) -> bool:
        """Is it the version that this project is built on?"""
        return self.version == PINNED_VERSION and self.commit in (None, PINNED_COMMIT)


def find_comfyui(settings: Settings, clone: bool = False) -> FoundComfyUI:
    """The ComfyUI to run. With `clone` it is fetched where there is none (a minute, blocking).

    Raises engine_not_found, which names COMFYUI_PATH and COMFYUI_GIT_URL.
    """
    if settings.comfyui_path is not None:
        found = read_tree(settings.comfyui_path.expanduser(), "COMFYUI_PATH")
        if found is None:
            detail = f"COMFYUI_PATH is {settings.comfyui_path}, where there is no main.py with a comfyui_version.py."
            raise JobError("engine_not_found", detail=detail)
        if not found.is_pinned:
            log.warning(
                "COMFYUI_PATH is ComfyUI %s (%s), this project is built on %s: graphs may fail or give other pixels",
                found.version,
                found.commit or "no git data",
                PINNED_VERSION,
            )
        return found
    looked = []
    for path, source in ((OWN_CLONE, "own clone"), (COMFY_CLI_PLACE.expanduser(), "comfy-cli")):
        found = read_tree(path, source)
        if found and found.is_pinned:
            return found
        seen = f"ComfyUI {found.version} {found.commit or ''}".rstrip() if found else "nothing"
        looked.append(f"{path}: {seen}")
    if not clone:
        detail = f"Looked at {'; '.join(looked)}. COMFYUI_PATH is not set, and COMFYUI_GIT_URL was not tried."
        raise JobError("engine_not_found", detail=detail)
    clone_comfyui(settings.comfyui_git_url, PINNED_COMMIT, OWN_CLONE)
    found = read_tree(OWN_CLONE, "own clone")
    if found is None or not found.is_pinned:
        raise JobError("engine_not_found", detail=f"What was cloned into {OWN_CLONE} is not ComfyUI {PINNED_VERSION}.")
    return found


def read_tree(path: Path, source: str) -> FoundComfyUI | None:
    """The ComfyUI at `path`, or None where there is none."""
    if not (path / "main.py").is_file():
        return None
    try:
        text = (path / "comfyui_version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    version = re.search(r"""^__version__\s*=\s*["']([^"']+)["']""", text, re.MULTILINE)
    return FoundComfyUI(path.resolve(), version[1], _commit_of(path), source) if version else None


def clone_comfyui(url: str, commit: str, target: Path, seconds: float = CLONE_SECONDS) -> None:
    """Put exactly `commit` of `url` into `target`, without history; never asks for a password, never leaves a half.

    Raises engine_not_found: no git, not reachable, not this commit, too slow.
    """
    log.info("cloning ComfyUI %s into %s", commit[:12], target)
    part = target.with_name(f"{target.name}.part-{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    until = time.monotonic() + seconds
    try:
        _git(until, "init", "--quiet", str(part))
        try:
            _git(until, "-C", str(part), "fetch", "--quiet", "--depth", "1", url, commit)
        except JobError:  # a mirror may hand out only what has a name
            _git(until, "-C", str(part), "fetch", "--quiet", "--depth", "1", url, f"refs/tags/v{PINNED_VERSION}")
        _git(until, "-C", str(part), "checkout", "--quiet", "--detach", "FETCH_HEAD")
        if (got := _commit_of(part)) != commit:
            raise JobError("engine_not_found", detail=f"COMFYUI_GIT_URL gave commit {got}, wanted {commit}.")
        if target.exists():  # an older or broken clone of our own; never a folder that somebody else named
            shutil.rmtree(target)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _git(until: float, *arguments: str) -> None:
    """Run git, without any question to the terminal, until `until` at the latest. Raises engine_not_found."""
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "SSH_ASKPASS": "true", "GCM_INTERACTIVE": "never"}
    command = ["git", "-c", "credential.helper=", *arguments]
    hint = "Set COMFYUI_PATH to a ComfyUI v0.33.0 tree, or COMFYUI_GIT_URL to a mirror that can be reached from here."
    try:
        # A group of its own: git's helpers (git-remote-https) must end with it.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **quiet},
            start_new_session=True,
        )
    except OSError as error:
        raise JobError("engine_not_found", detail=f"git could not be started: {error}.", hint=hint) from error
    try:
        _, errors = process.communicate(timeout=max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise JobError("engine_not_found", detail="Cloning took too long and was stopped.", hint=hint) from None
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        said = _without_password(errors.decode("utf-8", "replace").strip()[-400:])
        raise JobError("engine_not_found", detail=f"git failed: {said}.", hint=hint)


def _without_password(text: str) -> str:
    """COMFYUI_GIT_URL may carry user:password@, and git repeats the address."""
    return re.sub(r"://[^/@\s]+@", "://", text)


def _commit_of(path: Path) -> str | None:
    """The commit that is checked out, read from .git without running git; None where that cannot be told."""
    with contextlib.suppress(OSError):
        head = (path / ".git" / "HEAD").read_text(encoding="ascii", errors="replace").strip()
        if not head.startswith("ref:"):
            return head
        reference = path / ".git" / head.removeprefix("ref:").strip()
        return reference.read_text(encoding="ascii", errors="replace").strip()
    return None
