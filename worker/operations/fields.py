"""Fields that several operations share: pictures, sizes, prompts, seeds, and a store for one job.

Descriptions are written for whoever types a request: the command line's help and the API document are made of them.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo

from worker.errors import JobError
from worker.guard import parse_url
from worker.media import ImageInfo, Source
from worker.operations.base import Info, refusal

MAX_AREA = 1920 * 1088
"""Pixels of a frame. Attention grows with the square of the area: above it a step takes over four times as long as at
the 1280x720 that Wan was made for."""
ABOUT_PICTURES = {"not_an_image", "picture_too_small"}
"""Codes of failed nodes for which the picture is to blame."""
_HIDDEN = "(what was sent is not repeated here)"


class Request(BaseModel):
    """What all requests have in common: no unknown fields, nothing converted (5 for 5.0 is right, "5" is not)."""

    # A picture in base64 and a store's keys have no place in the text of an error.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


def in_steps(step: int, least: int, most: int, first: int = 0) -> Callable[[int, ValidationInfo], int]:
    """A validator: first + n * step, from `least` to `most`; anything else is refused with the two nearest."""

    def check(value: int, info: ValidationInfo) -> int:
        if (value - first) % step == 0:
            return value
        below = value - (value - first) % step
        near = " and ".join(str(choice) for choice in (below, below + step) if least <= choice <= most)
        rule = f"a multiple of {step}" if first == 0 else f"{step}n+{first}"
        text = f"`{info.field_name}` is {value}; {rule} is wanted: the nearest are {near}."
        raise refusal("invalid_value", text, hint=f"Send {near.replace('and', 'or')}.")

    return check


def _prompt(value: str, info: ValidationInfo) -> str:
    if not value.strip():
        raise refusal("invalid_value", f"`{info.field_name}` has only spaces; say what should happen.")
    return value


MAX_PROMPT = 2000
Prompt = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT), AfterValidator(_prompt)]
NegativePrompt = Annotated[str, Field(max_length=MAX_PROMPT)]
Link = Annotated[str, Field(min_length=1, max_length=4096)]
Base64 = Annotated[str, Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
# A latent pixel is 8 pixels and the model's patches are 2 latent pixels: 16.
Side = Annotated[
    int, Field(ge=64, le=1920, json_schema_extra={"multipleOf": 16}), AfterValidator(in_steps(16, 64, 1920))
]


def random_seed() -> int:
    """Any seed that JSON numbers of 64 bits with a sign can carry."""
    return secrets.randbelow(2**63)


class PictureFields(Request):
    """The picture of a request, in one of three ways."""

    image_base64: Base64 | None = Field(
        None, repr=False, description="the picture itself as base64 (JPEG, PNG or WebP; a data: prefix is allowed)"
    )
    image_url: Link | None = Field(None, description="or the http(s) URL of the picture")
    image_minio_path: Link | None = Field(None, description="or the key of the picture in the worker's bucket")


def one_of(request: BaseModel, stem: str, required: bool = True) -> str | None:
    """The one field of `<stem>_base64`, `<stem>_url`, `<stem>_minio_path` that is given.

    For validators: refuses two of them (conflicting_fields) and, where one is `required`, none (missing_field).
    """
    names = [f"{stem}_{way}" for way in ("base64", "url", "minio_path")]
    given = [name for name in names if getattr(request, name) is not None]
    if len(given) > 1:
        raise refusal("conflicting_fields", f"`{given[0]}` and `{given[1]}` both name the {stem}.", given[0])
    if required and not given:
        text = f"None of {', '.join(f'`{name}`' for name in names)} is there: the {stem} is missing."
        raise refusal("missing_field", text, names[1], f"Add `{names[1]}`, `{names[2]}` or `{names[0]}` to `input`.")
    return given[0] if given else None


def source_of(request: BaseModel, field: str) -> Source:
    """The file that a field names, by the way its name ends."""
    kind = "url" if field.endswith("_url") else "base64" if field.endswith("_base64") else "key"
    return Source(field, getattr(request, field), kind)


WAYS = ("", "_url", "_minio_path")
"""The three forms of a media field with a bare name, which takes an http(s) URL or, where it may, base64."""


def is_url(value: str) -> bool:
    """Whether a bare media field's text is a URL; else it is base64."""
    return re.match(r"https?://", value, re.IGNORECASE) is not None


def given(request: BaseModel, stem: str, what: str = "", required: bool = True) -> str | None:
    """The one field of the `WAYS` of `stem` that is there. For validators: refuses two of them (conflicting_fields)
    and, where one is `required`, none (missing_field). what: the file, in a word, where `stem` is not that."""
    names = [stem + way for way in WAYS]
    found = [name for name in names if getattr(request, name) is not None]
    if len(found) > 1:
        raise refusal("conflicting_fields", f"`{found[0]}` and `{found[1]}` both name the {what or stem}.", found[0])
    if required and not found:
        text = f"None of {', '.join(f'`{name}`' for name in names)} is there: the {what or stem} is missing."
        raise refusal("missing_field", text, stem, f"Add `{names[0]}`, `{names[1]}` or `{names[2]}` to `input`.")
    return found[0] if found else None


def given_source(request: BaseModel, field: str) -> Source:
    """The file that one of the `WAYS` names."""
    value = getattr(request, field)
    kind = "key" if field.endswith("_minio_path") else "url" if field.endswith("_url") or is_url(value) else "base64"
    return Source(field, value, kind)


def picture_info(infos: Mapping[str, Info], role: str) -> ImageInfo:
    """What was probed of a picture."""
    info = infos[role]
    assert isinstance(info, ImageInfo), f"{role} is no picture"
    return info


def check_area(width: int, height: int) -> None:
    """For validators: refuses a frame of more than MAX_AREA pixels."""
    if width * height > MAX_AREA:
        text = f"`width` x `height` is {width}x{height}, {width * height} pixels; the most is {MAX_AREA} (1920x1088)."
        raise refusal("invalid_value", text, "width", "Ask for a smaller width or height.")


def _text_of_r2(value: Any, info: ValidationInfo) -> Any:
    """Nothing of `r2` is shown in a refusal: people mix the two keys up with the other fields."""
    if isinstance(value, str) and not re.fullmatch(r"[\x21-\x7e]{1,1024}", value):
        text = f"`r2.{info.field_name}` has {len(value)} characters {_HIDDEN}"
        raise refusal("invalid_value", f"{text}; 1 to 1024 are wanted, of ASCII only and without spaces.")
    return value


def _endpoint(value: str, info: ValidationInfo) -> str:
    try:
        target = parse_url(value)
    except JobError as error:
        raise refusal(error.code, error.detail, hint="Send the store's own http(s) address.") from None
    if target.url.path not in ("", "/") or target.url.query_string or target.url.fragment:
        text = f"`r2.endpoint_url` goes on after its host {_HIDDEN}."
        raise refusal("invalid_value", text, hint="Send only https://host; the bucket's name goes into bucket_name.")
    return value


class R2(Request):
    """A store for one job alone (Cloudflare R2, S3, MinIO). The two keys are never shown, whoever prints this."""

    endpoint_url: Annotated[str, BeforeValidator(_text_of_r2), AfterValidator(_endpoint)] = Field(
        description="the store's address, https://host"
    )
    access_key_id: Annotated[SecretStr, BeforeValidator(_text_of_r2)] = Field(description="who writes")
    secret_access_key: Annotated[SecretStr, BeforeValidator(_text_of_r2)] = Field(description="the key to it")
    bucket_name: Annotated[str, BeforeValidator(_text_of_r2)] = Field(description="the bucket that gets the results")

    def as_dict(self) -> dict[str, str]:
        """The four values as plain text, secrets and all: for ObjectStore.from_r2 and nothing else."""
        return {
            "endpoint_url": self.endpoint_url,
            "access_key_id": self.access_key_id.get_secret_value(),
            "secret_access_key": self.secret_access_key.get_secret_value(),
            "bucket_name": self.bucket_name,
        }


OwnStore = Annotated[
    R2 | None,
    Field(
        description="a store for this job's results, in the place of the worker's own: "
        "{endpoint_url, access_key_id, secret_access_key, bucket_name}"
    ),
]
