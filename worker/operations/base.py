"""What every operation is to the worker, and how a request becomes one checked object or one clear refusal."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from worker.errors import ERRORS, JobError
from worker.finished import Expected
from worker.graph import Graph
from worker.media import Source, VideoInfo
from worker.settings import Settings

WORKFLOWS = Path(__file__).parents[2] / "workflows"

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Wanted:
    """One input file: where it comes from and what it must be. `min_side`: pixels, of a picture's shorter side."""

    source: Source
    kind: Literal["image", "video"]
    min_side: int = 0


@dataclass(frozen=True)
class Bound:
    """A graph ready to run: the API prompt, and {title: share of the time} of the nodes that will run."""

    prompt: dict[str, Any]
    weights: dict[str, float]


class Operation(Protocol):
    """One operation of the worker. All methods are pure; the worker's `jobs.py` does what they say."""

    name: str
    graph: Graph

    def check(self) -> None:
        """Raises graph_invalid if the pinned graph is not the one this operation binds."""
        ...

    def parse(self, job_input: Mapping[str, Any], settings: Settings) -> Any:
        """The checked request, every default filled in (the seed, too). Raises JobError."""
        ...

    def wanted(self, request: Any) -> dict[str, Wanted]:
        """{role: file to fetch}; the roles are `bind`'s."""
        ...

    def expected(self, request: Any, infos: Mapping[str, VideoInfo]) -> Expected:
        """What the finished MP4 must be, from what was probed of the fetched videos. Raises JobError on a bad range."""
        ...

    def bind(self, request: Any, files: Mapping[str, str], prompt_id: str) -> Bound:
        """The prompt. `files`: {role: path below ComfyUI's input folder}."""
        ...

    def output_key(self, request: Any, job_id: str) -> str:
        """Where the MP4 goes; the same job always to the same place."""
        ...

    def field_of(self, code: str, title: str, request: Any) -> str | None:
        """The request field that is to blame for a node's (title) failure with this code, if one is."""
        ...


def parse_model(model: type[Model], job_input: Mapping[str, Any]) -> Model:
    """The request as `model`, or a JobError with the field and what is wrong with it in plain words.

    With several faults, the first one in the order missing, unknown, value gives the code; all are told.
    """
    try:
        return model.model_validate(dict(job_input))
    except ValidationError as error:
        known = list(model.model_fields)
        faults = [_fault(item, known) for item in error.errors(include_url=False)]
    faults.sort(key=lambda fault: fault.code == "invalid_value")
    first = faults[0]
    if others := [f"{fault.field}: {fault.detail}" for fault in faults[1:]]:
        return _refuse(JobError(first.code, first.field, f"{first.detail} Also: {' '.join(others)}", first.hint))
    return _refuse(first)


def refusal(code: str, text: str, field: str = "", hint: str = "") -> PydanticCustomError:
    """To raise in a validator: an error of our table, with the field where it is not the validated one."""
    return PydanticCustomError("job_error", "{text}", {"code": code, "text": text, "field": field, "hint": hint})


def nearest(name: str, known: list[str]) -> str | None:
    """The known name that `name` was most likely meant to be."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return found[0] if found else next((k for k in known if len(name) > 3 and (name in k or k in name)), None)


def _refuse(error: JobError) -> Any:
    raise error


def _fault(item: ErrorDetails, known: list[str]) -> JobError:
    """One of pydantic's errors as one of ours."""
    field = ".".join(str(part) for part in item["loc"]) or None
    context = item.get("ctx", {})
    if item["type"] == "job_error":
        code = context["code"]
        return JobError(code, context["field"] or field, context["text"], context["hint"] or ERRORS[code].hint)
    if item["type"] == "missing":
        return JobError("missing_field", field, f"`{field}` is required.", f"Add `{field}` to `input`.")
    if item["type"] == "extra_forbidden":
        near = nearest(str(field), known)
        hint = f"Did you mean `{near}`?" if near else f"Known fields: {', '.join(known)}."
        return JobError("unknown_field", field, f"`{field}` is not a field of this operation.", hint)
    return JobError("invalid_value", field, f"`{field}` is {_shown(item['input'])}; {_rule(item)}.")


def _rule(item: ErrorDetails) -> str:
    """What was wanted, in words."""
    context = item.get("ctx", {})
    match item["type"]:
        case "greater_than_equal":
            return f"the least is {context['ge']}"
        case "less_than_equal":
            return f"the most is {context['le']}"
        case "multiple_of":
            return f"a multiple of {context['multiple_of']} is wanted"
        case "literal_error" | "enum":
            return f"{context['expected']} is wanted"
        case "string_too_long":
            return f"at most {context['max_length']} characters are allowed"
        case "string_too_short":
            return "it may not be empty"
        case "int_type" | "int_from_float" | "int_parsing":
            return "a whole number is wanted, without quotes"
        case "float_type" | "float_parsing" | "finite_number":
            return "a number is wanted, without quotes"
        case "string_type":
            return "a text is wanted"
        case "bool_type" | "bool_parsing":
            return "true or false is wanted"
    return item["msg"][:1].lower() + item["msg"][1:]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
