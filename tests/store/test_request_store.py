"""worker/r2.py: the store of a request. It is reached by the address guard's rules, asked before it is needed, and its
faults are told in the request's own words."""

import time

import pytest

from worker.errors import JobError
from worker.r2 import RequestStore
from worker.store import expires_at

from .traffic import CuttingProxy, counted, error_of, random_file

pytestmark = pytest.mark.store


@pytest.fixture
def r2(s3, bucket):
    """`r2` of a request that is right, and the exemption that lets this machine's own server through."""
    return {
        "endpoint_url": f"http://{s3.endpoint}",
        "access_key_id": s3.access_key,
        "secret_access_key": s3.secret_key,
        "bucket_name": bucket,
    }


async def test_it_reaches_public_addresses_only(s3, r2, tmp_path):
    video = random_file(tmp_path, 100)
    # The proxy stands for the address inside the network: it must not even be connected to.
    proxy = CuttingProxy(s3.port)
    try:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            inside = RequestStore.from_r2({**r2, "endpoint_url": f"http://{host}:{proxy.port}"})
            for work in (inside.put(video, "r2.mp4"), inside.check("r2.mp4")):
                error = await error_of(work)
                assert (error.code, error.field) == ("address_refused", "r2.endpoint_url")
                assert "public" in error.hint
        assert proxy.connections == 0
        address = f"127.0.0.1:{proxy.port}"
        allowed = RequestStore.from_r2({**r2, "endpoint_url": f"http://{address}"}, exempt=[address])
        await allowed.put(video, "r2.mp4")
        assert proxy.connections == 1
    finally:
        proxy.close()


@pytest.mark.parametrize("url", ["ftp://h/", "http://user:pw@h/", "not a url", "http://169.254.169.254 "])
def test_an_endpoint_that_is_no_address_is_refused_at_once(r2, url):
    with pytest.raises(JobError) as error:
        RequestStore.from_r2({**r2, "endpoint_url": url})
    assert (error.value.code, error.value.field) == ("address_refused", "r2.endpoint_url")
    assert "pw" not in str(error.value.as_dict())


def test_it_names_what_is_missing_and_refuses_a_path(r2):
    for change, code, field in (
        ({"access_key_id": ""}, "missing_field", "r2.access_key_id"),
        ({"endpoint_url": "https://h/bucket"}, "invalid_value", "r2.endpoint_url"),
    ):
        with pytest.raises(JobError) as error:
            RequestStore.from_r2({**r2, **change})
        assert (error.value.code, error.value.field) == (code, field)


async def test_asking_costs_one_request_and_writes_nothing(s3, r2):
    store = RequestStore.from_r2(r2, exempt=[s3.endpoint])
    with counted(store) as requests:
        await store.check("wan-i2v/results/job_video.mp4")
    assert len(requests) == 1
    assert requests[0].startswith("GET ")
    assert (await error_of(store.stat("wan-i2v/results/job_video.mp4"))).code == "object_not_found"


WRONG = [
    ({"secret_access_key": "not-the-secret"}, "store_denied", "r2.secret_access_key"),
    ({"access_key_id": "demo:stranger"}, "store_denied", "r2.secret_access_key"),
    ({"bucket_name": "nowhere"}, "bucket_not_found", "r2.bucket_name"),
    ({"bucket_name": "UPPER CASE"}, "invalid_value", "r2.bucket_name"),
    ({"endpoint_url": "http://127.0.0.1:9"}, "store_unavailable", "r2.endpoint_url"),
]


@pytest.mark.parametrize(("change", "code", "field"), WRONG, ids=[f"{c}-{next(iter(w))}" for w, c, _ in WRONG])
async def test_what_is_wrong_is_said_beforehand_in_the_requests_own_words(s3, r2, tmp_path, change, code, field):
    store = RequestStore.from_r2({**r2, **change}, exempt=[s3.endpoint, "127.0.0.1:9"])
    began = time.monotonic()
    for work in (store.check("a.mp4"), store.put(random_file(tmp_path, 10), "a.mp4")):
        error = await error_of(work)
        assert (error.code, error.field) == (code, field)
        said = str(error.as_dict())
        assert field.split(".")[1] in error.hint
        for word in ("MINIO", "AWS", "not-the-secret", s3.secret_key):
            assert word not in said
        if code != "store_unavailable":
            assert time.monotonic() - began < 3, "a refusal is not worth a retry"


async def test_one_who_may_write_but_not_list_is_let_through(s3, r2, monkeypatch):
    from minio.error import S3Error

    store = RequestStore.from_r2(r2, exempt=[s3.endpoint])

    def denied(*_, **__):
        raise S3Error(None, "AccessDenied", "no listing", "resource", "request", "host")

    monkeypatch.setattr(store._client, "list_objects", denied)
    await store.check("a.mp4")


async def test_a_links_end_is_read_from_the_link(store):
    from datetime import UTC, datetime, timedelta

    until = datetime.fromisoformat(expires_at(await store.presign("a.mp4", 3600)))
    assert abs(until - datetime.now(UTC) - timedelta(hours=1)) < timedelta(seconds=5)
    with pytest.raises(KeyError):
        expires_at("https://files.example/a.mp4")
