"""The table of errors and the code, held together both ways."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.errors import ERRORS, JobError

ROOT = Path(__file__).parents[2]
SOURCES = [*(ROOT / "worker").rglob("*.py"), *(ROOT / "custom_nodes").rglob("*.py"), *ROOT.glob("handler.py")]

# `refusal` is what worker/operations raise inside pydantic; parse_model makes a JobError of it.
MAKERS = {"JobError", "MotionError", "refusal"}


def codes_of(node: ast.expr) -> Iterator[str]:
    """String constants a first argument can be: "a", or both of `"a" if x else "b"`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from codes_of(node.body)
        yield from codes_of(node.orelse)


def raised() -> dict[str, str]:
    """Code -> one place that makes a JobError, a MotionError or a validator's refusal of it."""
    found: dict[str, str] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name not in MAKERS:
                continue
            first = node.args[:1] or [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            for code in codes_of(first[0]) if first else ():
                found.setdefault(code, f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def test_every_code_raised_is_in_the_table():
    unknown = {code: place for code, place in raised().items() if code not in ERRORS}
    assert not unknown


def test_every_code_in_the_table_is_raised():
    assert not set(ERRORS) - set(raised())


def test_the_search_finds_what_is_there():
    assert raised()["key_outside_prefix"].startswith("worker/media.py:")
    assert raised()["invalid_id"].startswith("worker/operations/avatar.py:")


@pytest.mark.parametrize("code", ERRORS)
def test_every_entry_says_what_happened_and_what_to_do(code):
    message, hint = ERRORS[code]
    assert code == code.lower().replace(" ", "_")
    for text in (message, hint):
        assert text[0].isupper()
        assert text[-1] in ".?"
    assert message.count(". ") == 0, "one sentence"


def test_an_error_as_an_answer_has_it():
    error = JobError("too_large", field="input_image_url", detail="It has 40 MiB.")
    assert error.as_dict() == {
        "code": "too_large",
        "message": "The file is larger than this worker accepts. It has 40 MiB.",
        "field": "input_image_url",
        "hint": ERRORS["too_large"].hint,
    }
    assert str(error) == "[too_large] The file is larger than this worker accepts. It has 40 MiB."
    assert JobError("too_large", hint="Less.").as_dict()["hint"] == "Less."
    assert JobError("too_large").with_field("a").with_field("b").field == "a"


def test_a_code_nobody_knows_is_a_fault_of_the_worker():
    with pytest.raises(KeyError, match="no_such_code"):
        JobError("no_such_code")
