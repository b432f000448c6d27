"""operations/base.py: pydantic's errors as ours, for requests with parts inside them, and without what is secret."""

import json
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from worker.errors import JobError
from worker.operations.base import parse_model

HUSH = "hush-hush-0123456789"


class Keys(BaseModel):
    """A store's."""

    model_config = ConfigDict(extra="forbid", strict=True)

    endpoint_url: Annotated[str, Field(min_length=3)]
    secret_access_key: SecretStr


class Part(BaseModel):
    """One of several."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str
    num_frames: int = Field(81, ge=5)


class Whole(BaseModel):
    """A request with parts."""

    model_config = ConfigDict(extra="forbid", strict=True)

    scenes: list[Part] | None = None
    r2: Keys | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _odd(self) -> "Whole":
        if self.seed == 13:
            raise ValueError("13 is no number for a seed")
        return self


def refused(request) -> JobError:
    with pytest.raises(JobError) as caught:
        parse_model(Whole, request)
    return caught.value


R2 = {"endpoint_url": "https://h", "secret_access_key": HUSH}

SECRET = [
    ({"r2": {"endpoint_url": HUSH}}, "missing_field", "r2.secret_access_key"),
    ({"r2": {**R2, "secret_access_key": [HUSH]}}, "invalid_value", "r2.secret_access_key"),
    ({"r2": {**R2, "endpoint_url": [HUSH]}}, "invalid_value", "r2.endpoint_url"),
    ({"r2": {**R2, "secret_acces_key": HUSH}}, "unknown_field", "r2.secret_acces_key"),
    ({"r2": HUSH}, "invalid_value", "r2"),
    ({"r2": [R2]}, "invalid_value", "r2"),
    ({"r2": R2, "seed": 13}, "invalid_value", None),
    ({"r2": R2, "seed": "x"}, "invalid_value", "seed"),
]


@pytest.mark.parametrize(
    ("request_", "code", "field"), SECRET, ids=[f"{c}-{f}-{i}" for i, (_, c, f) in enumerate(SECRET)]
)
def test_nothing_inside_r2_is_shown_nor_a_whole_request(request_, code, field):
    error = refused(request_)
    assert (error.code, error.field) == (code, field)
    assert HUSH not in json.dumps(error.as_dict())
    assert "hush" not in error.message
    assert error.__context__ is None or HUSH not in str(error.__context__), "nor in a traceback"


def test_a_value_that_is_no_secret_is_shown():
    assert "`seed` is 'x'; a whole number is wanted" in refused({"seed": "x"}).message
    assert "13 is no number for a seed" in refused({"seed": 13}).message


def test_an_unknown_field_of_a_part_is_told_the_parts_fields():
    error = refused({"scenes": [{"prompt": "a"}, {"prompt": "b", "num_frame": 81}]})
    assert (error.code, error.field) == ("unknown_field", "scenes.1.num_frame")
    assert error.hint == "Did you mean `num_frames`?"
    assert refused({"r2": {**R2, "qqq": 1}}).hint == "Known fields: endpoint_url, secret_access_key."
    assert refused({"scene": []}).hint == "Did you mean `scenes`?"
    assert (
        "`scenes.0.num_frames` is 4; the least is 5" in refused({"scenes": [{"prompt": "a", "num_frames": 4}]}).message
    )
