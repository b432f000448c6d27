"""ComfyUI's refusals and failures, in words a person understands. Pure.

Facts of ComfyUI v0.33.0: a refused prompt is answered 400 with `error` {type, message, details} and
`node_errors` {node id: {class_type, errors: [{type, message, details, extra_info}]}}; a prompt of which only
a part is good is answered 200, with `node_errors` filled, and the bad part is silently left out. A failed job
carries `execution_error` {node_id, node_type, exception_type, exception_message, traceback}.
"""

import re
from collections.abc import Mapping
from typing import Any

from worker.errors import ERRORS, JobError

_MOTION_ERROR = re.compile(r"^\[([a-z0-9_]+)\]\s*(.*?)(?:\s*Hint:\s*(.*))?$", re.DOTALL)
_MODEL_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".onnx", ".gguf")
_MAX_TEXT = 600

GATED = {
    "svd_xt_1_1.safetensors": "It is gated: accept its licence on huggingface.co/stabilityai/"
    "stable-video-diffusion-img2vid-xt-1-1 with your account, and set HF_TOKEN to download it."
}
"""Model files that are given to no one without an account: what to do for each."""


def node_name(prompt: Mapping[str, Any], node_id: str, class_type: str = "") -> str:
    """`"title" (class)`; for a node made by another node ("12:3") the title of the one in the graph."""
    node = prompt.get(node_id) or prompt.get(str(node_id).split(":")[0]) or {}
    class_type = node.get("class_type") or class_type or "unknown class"
    title = (node.get("_meta") or {}).get("title") or f"node {node_id}"
    return f'"{title}" ({class_type})'


def rejection(status: int, body: Any, prompt: Mapping[str, Any]) -> JobError | None:
    """The graph_rejected error of an answer to /prompt, or None where ComfyUI took the whole graph."""
    answer = body if isinstance(body, Mapping) else {}
    node_errors = answer.get("node_errors") or {}
    if status == 200 and not node_errors:
        return None
    reasons, missing_model = [], False
    for node_id, found in node_errors.items():
        name = node_name(prompt, str(node_id), found.get("class_type", ""))
        for error in found.get("errors", []):
            reasons.append(f"{name}: {_reason(error, prompt)}")
            missing_model |= _is_model_file(error)
    if not reasons:
        error = answer.get("error")
        reasons = [_reason(error, prompt) if isinstance(error, Mapping) else f"HTTP {status}: {_short(str(body))}"]
    hint = None
    if missing_model:
        gated = [what for name, what in GATED.items() if any(name in reason for reason in reasons)]
        hint = " ".join(["`python handler.py --check` lists which files are missing below MODEL_PATH.", *gated])
    return JobError("graph_rejected", detail=" ".join(_sentence(reason) for reason in reasons), hint=hint)


def failure(error: Mapping[str, Any], prompt: Mapping[str, Any]) -> JobError:
    """The error of a job in which a node failed: the node's own code where it gave one, else memory or node_failed."""
    kind = str(error.get("exception_type", ""))
    message = str(error.get("exception_message", "")).strip()
    own = _MOTION_ERROR.match(message)
    if kind.endswith("MotionError") and own and own[1] in ERRORS:
        return JobError(own[1], detail=_sentence(own[2].strip()), hint=(own[3] or "").strip() or None)
    name = node_name(prompt, str(error.get("node_id", "?")), str(error.get("node_type", "")))
    first = message.splitlines()[0] if message else "no message"
    if _is_memory(kind, message):
        hint = None if kind != "MemoryError" else "The machine's memory ran out, not the GPU's: use a larger machine."
        return JobError("out_of_memory", detail=_sentence(f"Node {name}: {_short(first)}"), hint=hint)
    place = _last_place(error.get("traceback"))
    text = f"Node {name} failed with {kind.rsplit('.', 1)[-1] or 'an error'}: {_short(message)}"
    return JobError("node_failed", detail=_sentence(text) + (f" {place}" if place else ""))


def _reason(error: Mapping[str, Any], prompt: Mapping[str, Any]) -> str:
    """One entry of ComfyUI's errors as a sentence; its own words where we have no better ones."""
    kind, details = error.get("type"), str(error.get("details") or "")
    extra = error.get("extra_info") or {}
    name, value = extra.get("input_name"), extra.get("received_value")
    if kind == "value_not_in_list":
        if _is_model_file(error):
            return f"the model file {value!r} (input {name}) is not there"
        return f"the input {name} may not be {value!r}; {_short(details)}"
    if kind == "required_input_missing":
        return f"the input {name} is missing"
    if kind == "return_type_mismatch":
        source = node_name(prompt, str((extra.get("linked_node") or ["?"])[0]))
        return f"the input {name} is linked to {source}, which gives {extra.get('received_type')}"
    if kind == "missing_node_type":
        name = node_name(prompt, str(extra.get("node_id")), str(extra.get("class_type") or ""))
        return f"{name}: ComfyUI has no such node; the node pack comfy_motion may have failed to load, see its log"
    if kind in ("value_smaller_than_min", "value_bigger_than_max"):
        return f"the input {name}: {error.get('message')}"
    return _short(": ".join(part for part in (str(error.get("message") or ""), details) if part) or "no reason given")


def _is_model_file(error: Mapping[str, Any]) -> bool:
    value = (error.get("extra_info") or {}).get("received_value")
    return error.get("type") == "value_not_in_list" and str(value).lower().endswith(_MODEL_SUFFIXES)


def _is_memory(kind: str, message: str) -> bool:
    """ComfyUI recognises more kinds of it than the class name says, and marks them all with one sentence."""
    return "OutOfMemoryError" in kind or kind == "MemoryError" or "you ran out of memory on your GPU" in message


def _last_place(traceback: Any) -> str:
    """Where it happened: the last entry of the traceback, with the file's name only."""
    last = str(traceback[-1]).strip() if isinstance(traceback, list) and traceback else ""
    found = re.match(r'File "(?:.*[/\\])?([^"/\\]+)", line (\d+), in (\S+)\s*([^\n]*)', last)
    if not found:
        return ""
    return f"At {found[1]}:{found[2]} in {found[3]}" + (f": {found[4]}" if found[4] else "")


def _short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + " ..."


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "!", "?")) else text + "."
