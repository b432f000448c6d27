"""Refuses what ComfyUI would refuse, in the same shapes, by the node descriptions recorded from it.

Not checked: V3's dynamic inputs, and model files (there are no models here; any name passes, and the recorded
description marks such a choice with FILES).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILES = "standin_files"
"""In the options of a recorded choice: its values are files of the machine, so none were recorded."""
_NUMBERS: dict[str, type] = {"INT": int, "FLOAT": float, "STRING": str}


@dataclass
class Verdict:
    """`outputs`: ids of the output nodes that may run; `error` is None where there is one. The rest as answered."""

    outputs: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None
    node_errors: dict[str, Any] = field(default_factory=dict)


def check(prompt: Mapping[str, Any], info: Mapping[str, Any], input_dir: Path) -> Verdict:
    """Check an API-format prompt against `info` (as /object_info gives it)."""
    for node_id, node in prompt.items():
        class_type = node.get("class_type")
        if class_type not in info:
            title = (node.get("_meta") or {}).get("title") or class_type
            message = f"Node '{title}' not found. The custom node may not be installed."
            if class_type is None:
                name = title or f"ID #{node_id}"
                message = f"Node '{name}' has no class_type. The workflow may be corrupted or a custom node is missing."
            extra = {"node_id": node_id, "class_type": class_type, "node_title": title}
            return Verdict(error=_error("missing_node_type", message, f"Node ID '#{node_id}'", extra))
    outputs = [node_id for node_id, node in prompt.items() if info[node["class_type"]]["output_node"]]
    if not outputs:
        return Verdict(error=_error("prompt_no_outputs", "Prompt has no outputs", "", {}))
    graph = _Graph(prompt, info, input_dir)
    verdict = Verdict([node_id for node_id in outputs if graph.is_good(node_id)])
    for node_id, reasons in graph.reasons.items():
        if reasons:
            verdict.node_errors[node_id] = {
                "errors": reasons,
                "dependent_outputs": [output for output in outputs if node_id in graph.upstream(output)],
                "class_type": prompt[node_id]["class_type"],
            }
    if not verdict.outputs:
        own = [reason for output in outputs for reason in graph.reasons.get(output, [])]
        details = "\n".join(f"{reason['message']}: {reason['details']}" for reason in own)
        verdict.error = _error("prompt_outputs_failed_validation", "Prompt outputs failed validation", details, {})
    return verdict


def model_missing(prompt: Mapping[str, Any], info: Mapping[str, Any]) -> Verdict:
    """What is answered where the first model file of a graph is not there (the fault `reject`)."""
    for node_id, node in prompt.items():
        for name, kind, options, _ in _inputs(info[node["class_type"]]):
            if options.get(FILES) and name in node["inputs"] and not any(key.endswith("_upload") for key in options):
                reason = _not_in_list(name, node["inputs"][name], [], {"input_config": [kind, dict(options)]})
                errors = {"errors": [reason], "dependent_outputs": [], "class_type": node["class_type"]}
                text = "Prompt outputs failed validation"
                return Verdict([], _error("prompt_outputs_failed_validation", text, "", {}), {node_id: errors})
    return Verdict(error=_error("prompt_no_outputs", "Prompt has no outputs", "", {}))


def linked(value: Any) -> bool:
    """Is this input's value a link, and not a value of its own?"""
    return isinstance(value, list)


class _Graph:
    """One prompt while it is checked: `reasons` has an entry for every node that was looked at."""

    def __init__(self, prompt: Mapping[str, Any], info: Mapping[str, Any], input_dir: Path):
        self._prompt, self._info, self._input_dir = prompt, info, input_dir
        self.reasons: dict[str, list[dict[str, Any]]] = {}
        self._good: dict[str, bool] = {}
        self._path: list[str] = []

    def upstream(self, node_id: str) -> set[str]:
        """The node and everything it is made of."""
        found, todo = set(), [node_id]
        while todo:
            current = todo.pop()
            if current not in found and current in self._prompt:
                found.add(current)
                links = [value for value in self._prompt[current].get("inputs", {}).values() if linked(value)]
                todo += [str(link[0]) for link in links if link]
        return found

    def is_good(self, node_id: str) -> bool:
        """Is the node, with everything it is made of, without a reason against it?"""
        if node_id in self._good:
            return self._good[node_id]
        if node_id in self._path:
            names = [f"{each} ({self._prompt[each]['class_type']})" for each in [*self._cycle(node_id), node_id]]
            extra = {"node_id": node_id, "cycle_nodes": self._cycle(node_id)}
            reason = _error("dependency_cycle", "Dependency cycle detected", " -> ".join(names), extra)
            self.reasons.setdefault(node_id, []).append(reason)
            return False
        self._path.append(node_id)
        own, good = [], True
        try:
            for name, kind, options, required in _inputs(self._info[self._prompt[node_id]["class_type"]]):
                reasons, source_is_good = self._check_input(node_id, name, kind, options, required)
                own, good = own + reasons, good and source_is_good
        except KeyError as error:
            extra = {"exception_type": "KeyError", "traceback": []}
            own.append(_error("exception_during_validation", "Exception when validating node", str(error), extra))
        self._path.pop()
        self.reasons[node_id] = self.reasons.get(node_id, []) + own
        self._good[node_id] = good and not self.reasons[node_id]
        return self._good[node_id]

    def _cycle(self, node_id: str) -> list[str]:
        return self._path[self._path.index(node_id) :]

    def _check_input(
        self, node_id: str, name: str, kind: Any, options: Mapping[str, Any], required: bool
    ) -> tuple[list[dict[str, Any]], bool]:
        """Reasons against one input, and whether what it is linked to is good."""
        inputs = self._prompt[node_id]["inputs"]
        if name not in inputs:
            missing = _error("required_input_missing", "Required input is missing", name, {"input_name": name})
            return ([missing] if required else []), True
        value, extra = inputs[name], {"input_name": name, "input_config": [kind, dict(options)]}
        if not linked(value):
            reason = _check_value(name, value, kind, options, extra, self._input_dir)
            return ([reason] if reason else []), True
        if len(value) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return [_error("bad_linked_input", message, name, {**extra, "received_value": value})], True
        received = self._info[self._prompt[value[0]]["class_type"]]["output"][value[1]]
        if not _fits(received, kind):
            details = f"{name}, received_type({received}) mismatch input_type({kind})"
            extra |= {"received_type": received, "linked_node": value}
            return [_error("return_type_mismatch", "Return type mismatch between linked nodes", details, extra)], True
        return [], self.is_good(value[0])


def _inputs(description: Mapping[str, Any]) -> list[tuple[str, Any, Mapping[str, Any], bool]]:
    """(name, type, options, required) of every input of a class."""
    return [
        (name, spec[0], spec[1] if len(spec) > 1 else {}, group == "required")
        for group in ("required", "optional")
        for name, spec in description["input"].get(group, {}).items()
    ]


def _check_value(
    name: str, value: Any, kind: Any, options: Mapping[str, Any], extra: dict[str, Any], input_dir: Path
) -> dict[str, Any] | None:
    """The reason against a value that stands in the graph itself."""
    extra = {**extra, "received_value": value}
    if isinstance(kind, str) and kind in _NUMBERS:
        try:
            value = _NUMBERS[kind](value)
        except (TypeError, ValueError) as error:
            message = f"Failed to convert an input value to a {kind} value"
            extra["exception_message"] = str(error)
            return _error("invalid_input_type", message, f"{name}, {value}, {error}", extra)
    for what in ("image", "video"):
        if options.get(f"{what}_upload"):
            if (input_dir / str(value)).is_file():
                return None
            details = f"{name} - Invalid {what} file: {value}"
            return _error(
                "custom_validation_failed", "Custom validation failed for node", details, {"input_name": name}
            )
    if "min" in options and value < options["min"]:
        message = f"Value {value} smaller than min of {options['min']}"
        return _error("value_smaller_than_min", message, name, extra)
    if "max" in options and value > options["max"]:
        return _error("value_bigger_than_max", f"Value {value} bigger than max of {options['max']}", name, extra)
    choices = kind if isinstance(kind, list) else options.get("options") if kind == "COMBO" else None
    if choices is not None and value not in choices and not (options.get(FILES) and value):
        return _not_in_list(name, value, choices, extra)
    return None


def _not_in_list(name: str, value: Any, choices: list[Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """What ComfyUI says of a choice that it does not offer."""
    long = len(choices) > 20
    details = f"{name}: {value!r} not in {f'(list of length {len(choices)})' if long else choices}"
    extra = {**extra, "input_name": name, "received_value": value}
    return _error("value_not_in_list", "Value not in list", details, {**extra, "input_config": None} if long else extra)


def _fits(received: Any, wanted: Any) -> bool:
    """May an output of this type go into an input of that type? Types may be lists joined by commas; * takes all."""
    if not (isinstance(received, str) and isinstance(wanted, str)):
        return received == wanted
    given, taken = set(received.split(",")), set(wanted.split(","))
    return bool(given & taken) or "*" in given | taken or any(name.endswith("_V3") for name in taken)


def _error(kind: str, message: str, details: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": dict(extra)}
