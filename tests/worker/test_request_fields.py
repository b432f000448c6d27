"""operations/fields.py: what the requests of several operations share."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from worker.errors import JobError
from worker.operations.animate import AnimateRequest
from worker.operations.base import parse_model
from worker.operations.fields import MAX_AREA, R2, OwnStore, PictureFields, Prompt, Request, Seed, Side, source_of
from worker.operations.i2v import I2VRequest, NumFrames, Scene
from worker.operations.segment import SegmentRequest

from .asking import SECRETS, STORE

REQUESTS = (I2VRequest, AnimateRequest, SegmentRequest)


class Small(Request):
    side: Side = 64
    frames: NumFrames = 5
    prompt: Prompt = "p"
    seed: Seed = 0
    r2: OwnStore = None


def refused(model: type[BaseModel] = Small, **values) -> JobError:
    with pytest.raises(JobError) as caught:
        parse_model(model, values)
    return caught.value


@given(st.integers(64, 1920))
def test_a_side_is_taken_or_refused_with_the_two_nearest(value):
    if value % 16 == 0:
        assert parse_model(Small, {"side": value}).side == value
        return
    error = refused(side=value)
    below = value // 16 * 16
    assert error.code == "invalid_value"
    assert f"`side` is {value}; a multiple of 16 is wanted: the nearest are {below} and {below + 16}." in error.message
    assert 64 <= below < below + 16 <= 1920
    assert error.hint == f"Send {below} or {below + 16}."


@given(st.integers(5, 161))
def test_a_number_of_frames_is_taken_or_refused_with_the_two_nearest(value):
    if value % 4 == 1:
        assert parse_model(Small, {"frames": value}).frames == value
        return
    below = (value - 1) // 4 * 4 + 1
    assert f"4n+1 is wanted: the nearest are {below} and {below + 4}." in refused(frames=value).message


@pytest.mark.parametrize(("value", "said"), [(4, "the least is 5"), (162, "the most is 161"), (165, "the most is 161")])
def test_outside_the_limits_the_limit_is_named(value, said):
    assert said in refused(frames=value).message


@pytest.mark.parametrize("value", [True, 80.0, "64", None])
def test_whole_numbers_are_whole_numbers(value):
    assert "a whole number is wanted" in refused(side=value).message


@pytest.mark.parametrize("prompt", ["word " * 20_000, " \n\t", "", "\ud800", "x" * 2001])
def test_a_prompt_is_a_text_of_some_length(prompt):
    error = refused(prompt=prompt)
    assert (error.code, error.field) == ("invalid_value", "prompt")
    assert len(error.message) < 250
    assert prompt[:60] not in error.message or len(prompt) < 60


def test_the_longest_prompt_is_taken():
    assert len(parse_model(Small, {"prompt": "ü" * 2000}).prompt) == 2000


def test_a_picture_comes_in_one_way():
    for way, kind in (("base64", "base64"), ("url", "url"), ("minio_path", "key")):
        request = parse_model(I2VRequest, {f"image_{way}": "v", "prompt": "p"})
        assert request.image_field == f"image_{way}"
        source = source_of(request, request.image_field)
        assert (source.field, source.value, source.kind) == (f"image_{way}", "v", kind)
    none = refused(I2VRequest, prompt="p", image_url=None)
    assert (none.code, none.field) == ("missing_field", "image_url")
    assert "image_base64" in none.hint
    assert "image_minio_path" in none.hint
    two = refused(I2VRequest, prompt="p", image_url="u", image_base64="b")
    assert (two.code, two.field) == ("conflicting_fields", "image_base64")
    assert "`image_base64` and `image_url`" in two.message


def test_a_picture_in_base64_is_not_printed():
    request = parse_model(I2VRequest, {"image_base64": "QUJD" * 100, "prompt": "p"})
    assert "QUJD" not in repr(request) + str(request)
    assert "QUJD" not in repr(source_of(request, "image_base64"))


def test_the_most_pixels():
    assert MAX_AREA == 1920 * 1088
    for width, height in ((1920, 1088), (1088, 1920)):
        parse_model(I2VRequest, {"image_url": "u", "prompt": "p", "width": width, "height": height})
    error = refused(I2VRequest, image_url="u", prompt="p", width=1920, height=1104)
    assert (error.code, error.field) == ("invalid_value", "width")
    assert "1920x1104" in error.message


def test_a_store_of_ones_own():
    store = parse_model(Small, {"r2": STORE}).r2
    assert store.as_dict() == STORE


@pytest.mark.parametrize("model", [*REQUESTS, Small], ids=lambda model: model.__name__)
def test_the_keys_of_a_store_are_never_shown(model):
    request = model.model_construct(r2=R2(**STORE))
    shown = [repr(request), str(request), repr(request.r2), str(request.model_dump()), str(request.model_dump()["r2"])]
    shown += [f"{request.r2}", json.dumps(request.r2.model_dump(mode="json")), R2(**STORE).model_dump_json()]
    for text in shown:
        for secret in SECRETS:
            assert secret not in text
    assert "account.r2.example.com" in repr(request)


SWAPPED = SECRETS[1]
BAD_STORES = [
    (SWAPPED, "invalid_value", "r2"),
    ([SWAPPED], "invalid_value", "r2"),
    (json.dumps(STORE), "invalid_value", "r2"),
    ({}, "missing_field", "r2.endpoint_url"),
    ({**STORE, "acces_key": SWAPPED}, "unknown_field", "r2.acces_key"),
    ({**STORE, "endpoint_url": "ftp://x"}, "address_refused", "r2.endpoint_url"),
    ({**STORE, "endpoint_url": SWAPPED}, "address_refused", "r2.endpoint_url"),
    ({**STORE, "endpoint_url": "https://"}, "address_refused", "r2.endpoint_url"),
    ({**STORE, "endpoint_url": f"https://me:{SWAPPED}@host"}, "address_refused", "r2.endpoint_url"),
    ({**STORE, "endpoint_url": f"https://host/{SWAPPED}"}, "invalid_value", "r2.endpoint_url"),
    ({**STORE, "endpoint_url": f"https://host/?k={SWAPPED}"}, "invalid_value", "r2.endpoint_url"),
    ({**STORE, "endpoint_url": 5}, "invalid_value", "r2.endpoint_url"),
    ({**STORE, "access_key_id": ""}, "invalid_value", "r2.access_key_id"),
    ({**STORE, "access_key_id": None}, "invalid_value", "r2.access_key_id"),
    ({**STORE, "secret_access_key": [SWAPPED]}, "invalid_value", "r2.secret_access_key"),
    ({**STORE, "secret_access_key": {"value": SWAPPED}}, "invalid_value", "r2.secret_access_key"),
    ({**STORE, "secret_access_key": f"{SWAPPED}\r\nHost: x"}, "invalid_value", "r2.secret_access_key"),
    ({**STORE, "secret_access_key": SWAPPED * 100}, "invalid_value", "r2.secret_access_key"),
    ({**STORE, "bucket_name": f"{SWAPPED} "}, "invalid_value", "r2.bucket_name"),
]


@pytest.mark.parametrize(("store", "code", "field"), BAD_STORES)
def test_a_wrong_store_is_refused_without_a_word_of_it(store, code, field):
    error = refused(r2=store)
    assert (error.code, error.field) == (code, field)
    assert error.hint
    for secret in SECRETS:
        assert secret not in f"{error} {error.hint} {error.as_dict()}"
    assert error.__cause__ is None


def test_a_wrong_name_in_a_store_gets_the_nearest():
    assert refused(r2={**STORE, "bucket": "b"}).hint == "Did you mean `bucket_name`?"
    assert "Known fields: endpoint_url" in refused(r2={**STORE, "qqq": 1}).hint


def test_a_seed_fits_into_64_bits_with_a_sign():
    assert parse_model(Small, {"seed": 2**63 - 1}).seed == 2**63 - 1
    for seed in (-1, 2**63, 1.0, True):
        assert refused(seed=seed).field == "seed"
    seeds = {parse_model(I2VRequest, {"image_url": "u", "prompt": "p"}).seed for _ in range(20)}
    assert len(seeds) == 20
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("model", [*REQUESTS, Scene, R2, PictureFields], ids=lambda model: model.__name__)
def test_every_field_is_described(model):
    assert {name: field.description for name, field in model.model_fields.items() if not field.description} == {}


@pytest.mark.parametrize("model", REQUESTS, ids=lambda model: model.__name__)
def test_the_schema_can_be_written_down(model):
    schema = model.model_json_schema()
    assert set(schema["properties"]) == set(model.model_fields)
    assert schema["$defs"]["R2"]["properties"]["secret_access_key"]["writeOnly"] is True
    assert all(part.get("description") for part in schema["properties"].values())
    json.dumps(schema)
