"""The worker's operations, one file each. `load_operations` is the registry."""

from worker.operations.animate import Animate
from worker.operations.avatar import Avatar
from worker.operations.base import Bound, Delivered, Info, Operation, Output, Results, Wanted
from worker.operations.i2v import I2V
from worker.operations.mimicmotion import MimicMotion
from worker.operations.multitalk import MultiTalk
from worker.operations.segment import Segment

__all__ = ["Bound", "Delivered", "Info", "Operation", "Output", "Results", "Wanted", "load_operations"]


def load_operations() -> dict[str, Operation]:
    """{name: operation}, each with its pinned graphs read. Raises graph_invalid."""
    operations: tuple[Operation, ...] = (Avatar(), I2V(), Animate(), Segment(), MimicMotion(), MultiTalk())
    return {operation.name: operation for operation in operations}
