"""The worker's operations, one file each. `load_operations` is the registry."""

from worker.operations.avatar import Avatar
from worker.operations.base import Bound, Operation, Wanted

__all__ = ["Bound", "Operation", "Wanted", "load_operations"]


def load_operations() -> dict[str, Operation]:
    """{name: operation}, each with its pinned graph read. Raises graph_invalid."""
    return {operation.name: operation for operation in (Avatar(),)}
