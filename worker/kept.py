"""Finished pieces of jobs that did not end: the folders of the node Keep Frames, one for each job's Bound.kept.

They stay where the same job may go on from them (after a crash, say) and go where it may not or need not.
"""

import contextlib
import logging
import os
import shutil
import time
from pathlib import Path

log = logging.getLogger(__name__)

STAYS_AFTER = {
    *("engine_crashed", "engine_unreachable", "deadline_exceeded", "out_of_memory", "node_failed"),
    # All is made by then; only its way out failed, and the same request with another store is the same work.
    *("store_unavailable", "store_denied", "bucket_not_found", "answer_too_large"),
}
"""Codes of failed jobs of which the pieces are worth keeping."""


class Kept:
    """All kept folders below one ComfyUI's base directory. `hours`: how old one may get; 0: none is kept at all."""

    def __init__(self, base_directory: Path, hours: float, job_timeout_s: float):
        self.root = base_directory / "user" / "comfy_motion" / "kept"
        self._hours = hours
        # A folder younger than one job's deadline may be in use by another worker on the same volume.
        self._seconds = max(hours * 3600, job_timeout_s)

    def hold(self, name: str) -> None:
        """The folder is in use from now on: it counts as new, also for other workers on the same volume."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._folder(name))

    def let_go(self, name: str, outcome: str, after_success: bool = False) -> None:
        """The job is over; `outcome` is its error's code, or success, or cancelled. Never raises.

        after_success: the pieces stay for the next job that asks for the same.
        """
        if self._hours and (outcome in STAYS_AFTER or (after_success and outcome == "success")):
            log.info("finished pieces stay for %g hours in %s", self._hours, self._folder(name))
        else:
            shutil.rmtree(self._folder(name), ignore_errors=True)

    def sweep(self) -> None:
        """Remove the folders that nobody came back for. Never raises."""
        oldest = time.time() - self._seconds
        with contextlib.suppress(OSError):
            for folder in self.root.iterdir():
                if folder.is_dir() and folder.stat().st_mtime < oldest:
                    log.info("removing %s: nobody came back for it", folder)
                    shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, name: str) -> Path:
        if name in ("", ".", "..") or name != Path(name).name:
            raise ValueError(f"{name!r} is no name of one folder")
        return self.root / name
