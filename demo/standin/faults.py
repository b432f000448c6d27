"""What can be made to go wrong in the stand-in, one prompt at a time."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The faults. The text after `=` in `--fault kind=text` is the fault's detail."""

    DROP_SOCKET = "drop_socket"
    """Every websocket closes in mid-job, none is accepted until the job is over, and nobody is told of its end."""
    NODE_ERROR = "node_error"
    """The last node but one raises a RuntimeError; detail: its message."""
    MOTION_ERROR = "motion_error"
    """A node refuses with a MotionError; detail: its code (no_person)."""
    OUT_OF_MEMORY = "out_of_memory"
    """A node runs out of GPU memory."""
    SILENT = "silent"
    """The prompt is accepted and runs for ever: no more messages, and no interrupt helps. HTTP goes on answering."""
    HANG_HTTP = "hang_http"
    """The prompt is accepted, and from then on nothing is answered and nothing sent."""
    NO_OUTPUT = "no_output"
    """The job ends well, without any output."""
    MISSING_FILE = "missing_file"
    """The job ends well and names a file that is not there."""
    CRASH = "crash"
    """The process ends in mid-job."""
    DOOMED = "doomed"
    """The process ends in mid-job, and from then on whenever it is started on the same base directory."""
    SLOW = "slow"
    """Every step takes a second; detail: how many."""
    REJECT = "reject"
    """The graph is refused, as if its first model file were missing."""


DOOMED_MARK = "standin-is-doomed"
"""A file of this name in the base directory ends the stand-in when it starts (Kind.DOOMED)."""


@dataclass(frozen=True)
class Fault:
    """One fault with its detail."""

    kind: Kind
    detail: str = ""

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """`kind` or `kind=detail`. Raises ValueError for a kind that does not exist."""
        kind, _, detail = text.partition("=")
        return cls(Kind(kind.strip()), detail)


class FaultPlan:
    """Which fault the next prompts get: `times` prompts, or every one where times is None."""

    def __init__(self, fault: Fault | None = None, times: int | None = None):
        self.set(fault, times)

    def set(self, fault: Fault | None, times: int | None = None) -> None:
        """From the next prompt on."""
        self._fault, self._left = fault, times

    def take(self) -> Fault | None:
        """The fault of the prompt that comes in now."""
        if self._fault is None or self._left == 0:
            return None
        if self._left is not None:
            self._left -= 1
        return self._fault


class NodeFailure(Exception):
    """A node of the stand-in fails: what ComfyUI would report of it."""

    def __init__(self, exception_type: str, message: str):
        super().__init__(message)
        self.exception_type, self.message = exception_type, message


def node_failure(fault: Fault | None) -> NodeFailure | None:
    """The failure that this fault makes a node have, if it is one of that sort."""
    if fault is None:
        return None
    if fault.kind is Kind.NODE_ERROR:
        return NodeFailure("RuntimeError", fault.detail or "mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)")
    if fault.kind is Kind.OUT_OF_MEMORY:
        message = fault.detail or "Allocation on device 0 would exceed allowed memory. (out of memory)"
        return NodeFailure("torch.OutOfMemoryError", message)
    if fault.kind is Kind.MOTION_ERROR:
        text = f"[{fault.detail or 'no_person'}] The stand-in was told to refuse. Hint: Start it without --fault."
        return NodeFailure("comfy_motion.errors.MotionError", text)
    return None
