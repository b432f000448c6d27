"""What a face of the command line says at the end: what there is, or why there is nothing."""

import sys
from collections.abc import Mapping
from typing import Any

from cli.outcome import RunFailed
from cli.results import files_of
from worker.errors import JobError

KEYS = ("minio_key", "output_key", "video_r2_key")


def found_in(error: Exception) -> dict[str, Any]:
    """The {code, message, field, hint} of a failure, empty where it has none."""
    if isinstance(error, RunFailed):
        return error.error
    return dict(error.as_dict()) if isinstance(error, JobError) else {}


def say_failure(error: Exception, flags: Mapping[str, str] | None = None) -> None:
    """Why there is no result, on stderr: what was said, its code, the field, what to do. flags: {field: its flag}."""
    found = found_in(error)
    text = str(error)
    print(f"FAILED: {error.message if isinstance(error, JobError) else text}", file=sys.stderr)
    for name in ("code", "field", "hint"):
        if found.get(name):
            print(f"  {name:6}{found[name]}", file=sys.stderr)
    flag = (flags or {}).get(str(found.get("field")).split(".")[0])
    if flag:
        print(f"  flag  {flag}", file=sys.stderr)


def summary(answer: Mapping[str, Any]) -> str:
    """A job that is done, in a few lines: its files, and what is worth knowing to make it again."""
    lines = files_of(answer) or [f"in the store: {answer[name]}" for name in KEYS if answer.get(name)]
    about = [f"seed {answer['seed']}"] if answer.get("seed") is not None else []
    if "width" in answer:
        about.append(f"{answer['width']}x{answer['height']}, {answer['num_frames']} frames, {answer['fps']:g} a second")
    for number, mask in enumerate(answer.get("masks", []), 1):
        about.append(f"mask {number}: score {mask['score']:.2f}")
    if total := answer.get("timings", {}).get("total"):
        about.append(f"{total:.1f} s")
    return "\n".join([*lines, ", ".join(about), *answer.get("notes", [])])
