"""What the tests of several operations' requests do with them."""

from collections.abc import Mapping
from typing import Any

import pytest

from worker.delivery import Delivered
from worker.errors import JobError
from worker.finished import Report
from worker.media import ImageInfo
from worker.operations import Operation, Results
from worker.settings import Settings

SHA = "5" * 64
STORE = {
    "endpoint_url": "https://account.r2.example.com",
    "access_key_id": "AKIA-THE-KEY-ID",
    "secret_access_key": "THE-SECRET-KEY",
    "bucket_name": "results",
}
SECRETS = (STORE["access_key_id"], STORE["secret_access_key"])


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]


def picture(width: int = 1920, height: int = 1080, sha256: str = SHA) -> ImageInfo:
    return ImageInfo(width, height, "PNG", 1, sha256)


class Asked:
    """One operation and a good request, asked with changes ("absent" takes a field out)."""

    def __init__(self, operation: Operation, good: Mapping[str, Any]):
        self.operation, self.good = operation, dict(good)

    def parse(self, **changes: Any) -> Any:
        fields = {name: value for name, value in {**self.good, **changes}.items() if value != "absent"}
        return self.operation.parse(fields, settings())

    def refused(self, **changes: Any) -> JobError:
        with pytest.raises(JobError) as caught:
            self.parse(**changes)
        return caught.value

    def bound(self, infos: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, dict[str, Any]]:
        """{title: inputs} of the bound graph."""
        infos = infos or {"image": picture(), "mask": picture()}
        files = {role: f"x/{role}.png" for role in infos}
        prompt = self.operation.bind(self.parse(**changes), files, infos, "x").prompt
        return {node["_meta"]["title"]: node["inputs"] for node in prompt.values()}

    def different_from_pinned(self, **changes: Any) -> set[tuple[str, str]]:
        """(title, input) of what binding changed in the pinned graph."""
        graph = self.operation.graph_of(self.parse(**changes))
        pinned = {node["_meta"]["title"]: node["inputs"] for node in graph.nodes.values()}
        return {
            (title, name)
            for title, inputs in self.bound(**changes).items()
            for name, value in inputs.items()
            if pinned[title][name] != value
        }

    def answer(self, stored: bool, said: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        """The answer to a job whose files went into a store, or came back as base64; without what is None."""
        request = self.parse(**changes)
        outputs = self.operation.outputs(request, "abc123")
        files = {}
        for role, output in outputs.items():
            inline = "Zm9v" if output.inline == "always" or (output.inline == "without_store" and not stored) else None
            files[role] = [
                Delivered(3, key, f"https://store/{key}?signed", inline) if stored else Delivered(3, base64=inline)
                for key in output.keys
            ]
        results = Results({"image": picture()}, files, Report(), said or {}, 45.25, 35.0004)
        found = self.operation.answer(request, results)
        return {name: value for name, value in found.items() if value is not None}


def renamed(operation: Operation, name: str, title: str) -> dict[str, Any]:
    """The nodes of a pinned graph, one of them with another title."""
    nodes = {key: {**node, "_meta": dict(node["_meta"])} for key, node in operation.graphs[name].nodes.items()}
    (node,) = [node for node in nodes.values() if node["_meta"]["title"] == title]
    node["_meta"]["title"] = "Renamed"
    return nodes
