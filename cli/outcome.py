"""What became of a job, wherever it ran. Without the RunPod SDK, whose import alone takes over a second."""

import json
from dataclasses import dataclass, field
from typing import Any


class RunFailed(Exception):
    """The job was not run or did not succeed. `error` is the worker's own {code, message, field, hint}, if any."""

    def __init__(self, text: str, error: dict[str, Any] | None = None, status: dict[str, Any] | None = None):
        self.error, self.status = error or {}, status or {}
        super().__init__(text)


@dataclass
class Finished:
    """A job that ended well, and what was seen of it on the way; not `followed`: nothing, it had ended before."""

    job_id: str
    output: dict[str, Any]
    delay_ms: int
    execution_ms: int
    progress: list[dict[str, Any]] = field(default_factory=list)
    followed: bool = True


def error_of(status: dict[str, Any]) -> dict[str, Any]:
    """The worker's {code, message, field, hint} of a FAILED job; RunPod carries it as JSON text in `error`."""
    text = status.get("error")
    try:
        error = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        error = None
    if isinstance(error, dict):
        return error if "code" in error else {"code": None, "message": error.get("error_message", str(error))}
    return {"code": None, "message": str(text) if text else f"the job ended as {status.get('status')} without an error"}
