"""What every operation is to the worker, and how a request becomes one checked object or one clear refusal."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from worker.delivery import Delivered, Output
from worker.errors import ERRORS, JobError
from worker.finished import Expected, Report
from worker.graph import Graph
from worker.media import ImageInfo, SoundInfo, Source, VideoInfo
from worker.settings import Settings

WORKFLOWS = Path(__file__).parents[2] / "workflows"

MAX_OTHERS = 5
"""Faults of a request that are told beside the first."""

Model = TypeVar("Model", bound=BaseModel)

SECRET_FIELDS = {"r2"}
"""Request fields whose values are in no message, nor anything inside them."""

Info = ImageInfo | VideoInfo | SoundInfo


@dataclass(frozen=True)
class Wanted:
    """One input file: where it comes from and what it must be.

    min_side: pixels, of a picture's shorter side. digest: a video's sha256 is needed; a picture's is always there.
    """

    source: Source
    kind: Literal["image", "video", "audio"]
    min_side: int = 0
    digest: bool = False


@dataclass(frozen=True)
class Bound:
    """A graph ready to run: the API prompt, and {title: share of the time} of the nodes that will run.

    kept: the folder of finished pieces below ComfyUI's user folder (Keep Frames) that a later run of the same job
    goes on from; None where the graph keeps nothing. stays: a job that succeeded leaves it there for KEEP_HOURS, too,
    so that the same job is answered from it.
    """

    prompt: dict[str, Any]
    weights: dict[str, float]
    kept: str | None = None
    stays: bool = False


@dataclass(frozen=True)
class Results:
    """What an answer is made of.

    infos: what was probed of the inputs, by role. files: what was delivered, by the role of `outputs`. report: the
    check of the finished MP4; None where the operation makes none. said: {title: {kind: list}} that nodes told
    besides files. seconds: from the job's beginning until now. generate_seconds: of the graph alone.
    """

    infos: Mapping[str, Info]
    files: Mapping[str, Sequence[Delivered]]
    report: Report | None
    said: Mapping[str, Mapping[str, Any]]
    seconds: float
    generate_seconds: float


class Operation(Protocol):
    """One operation of the worker. All methods are pure; the worker's `jobs.py` does what they say."""

    name: str
    request: type[BaseModel]
    """The request's schema: the worker's check, the command line and the documentation are made from it."""
    graphs: Mapping[str, Graph]
    """Every pinned graph of the operation, by the file's name without .json."""

    def check(self) -> None:
        """Raises graph_invalid if a pinned graph is not the one this operation binds."""
        ...

    def parse(self, job_input: Mapping[str, Any], settings: Settings) -> Any:
        """The checked request, every default filled in (the seed, too). Raises JobError."""
        ...

    def graph_of(self, request: Any) -> Graph:
        """The pinned graph that this request runs."""
        ...

    def shares(self, request: Any) -> dict[str, float]:
        """{title: share of the time} of the nodes that will run, known before anything is fetched: `Bound.weights`."""
        ...

    def wanted(self, request: Any) -> dict[str, Wanted]:
        """{role: file to fetch}; the roles are `bind`'s."""
        ...

    def expected(self, request: Any, infos: Mapping[str, Info]) -> Expected | None:
        """What the finished MP4 must be, from what was probed of the inputs; None where there is no video.

        Raises JobError for whatever in the request does not fit the inputs: a range, a box outside the picture, a
        mask of another size. It is asked before ComfyUI is.
        """
        ...

    def bind(self, request: Any, files: Mapping[str, str], infos: Mapping[str, Info], prompt_id: str) -> Bound:
        """The prompt. `files`: {role: path below ComfyUI's input folder}."""
        ...

    def outputs(self, request: Any, job_id: str) -> dict[str, Output]:
        """{role: files that the graph writes}, in the order in which they are worth answering as base64.

        The one with kind "video", if there is one, has one key and is checked against `expected`.
        """
        ...

    def answer(self, request: Any, results: Results) -> dict[str, Any]:
        """The operation's own part of the answer; `jobs.py` adds success, operation, seed, timings, versions, worker,
        and for a video its figures. A field whose value is None is left out."""
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
        faults = [_fault(item, model) for item in error.errors(include_url=False)]
    faults.sort(key=lambda fault: fault.code == "invalid_value")
    first = faults[0]
    if others := [f"{fault.field}: {fault.detail}" for fault in faults[1 : 1 + MAX_OTHERS]]:
        more = f" And {len(faults) - 1 - MAX_OTHERS} more." if len(faults) > 1 + MAX_OTHERS else ""
        return _refuse(JobError(first.code, first.field, f"{first.detail} Also: {' '.join(others)}{more}", first.hint))
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


def _fault(item: ErrorDetails, model: type[BaseModel]) -> JobError:
    """One of pydantic's errors as one of ours. Secrets and whole requests are never shown."""
    field = ".".join(str(part) for part in item["loc"]) or None
    context = item.get("ctx", {})
    if item["type"] == "job_error":
        code = context["code"]
        return JobError(code, context["field"] or field, context["text"], context["hint"] or ERRORS[code].hint)
    if item["type"] == "missing":
        return JobError("missing_field", field, f"`{field}` is required.", f"Add `{field}` to `input`.")
    if item["type"] == "extra_forbidden":
        known = _known_at(model, item["loc"][:-1])
        near = nearest(str(item["loc"][-1]), known)
        hint = f"Did you mean `{near}`?" if near else f"Known fields: {', '.join(known)}."
        return JobError("unknown_field", field, f"`{field}` is not a field of this operation.", hint)
    if field is None or item["loc"][0] in SECRET_FIELDS:
        return JobError("invalid_value", field, f"`{field or 'input'}` has another value than it may; {_rule(item)}.")
    return JobError("invalid_value", field, f"`{field}` is {_shown(item['input'])}; {_rule(item)}.")


def _known_at(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """The fields of the object at a place inside a request: of `model` itself, or of one of its parts."""
    for name in place:
        if isinstance(name, int) or name not in model.model_fields:
            continue
        waiting = [model.model_fields[name].annotation]
        while waiting:
            found = waiting.pop()
            if isinstance(found, type) and issubclass(found, BaseModel):
                model = found
            waiting += get_args(found)
    return list(model.model_fields)


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
