"""worker/store.py against a real S3 server: signatures, multipart, presigned links, and what it refuses."""

import asyncio
import hashlib
import time
import urllib.error
import urllib.request
from dataclasses import replace

import pytest
from PIL import Image

from worker.errors import JobError
from worker.guard import GuardedFetcher
from worker.media import Inputs, Source, fetch_image
from worker.settings import Settings
from worker.store import ObjectStore

from .traffic import counted, error_of, random_file

pytestmark = pytest.mark.store


async def test_put_stat_get_delete(store, tmp_path):
    video = random_file(tmp_path, 300_000)
    sha256 = await store.put(video, "avatar/user 1/ä.mp4")
    assert sha256 == hashlib.sha256(video.read_bytes()).hexdigest()
    assert await store.stat("avatar/user 1/ä.mp4") == (300_000, "video/mp4", sha256)

    back = tmp_path / "in" / "back.mp4"
    assert await store.get("avatar/user 1/ä.mp4", back, max_bytes=300_000) == 300_000
    assert back.read_bytes() == video.read_bytes()

    await store.delete("avatar/user 1/ä.mp4")
    assert (await error_of(store.stat("avatar/user 1/ä.mp4"))).code == "object_not_found"


async def test_a_big_file_goes_in_parts(make_store, tmp_path):
    store = make_store(part_bytes=5 * 2**20)
    video = random_file(tmp_path, 12 * 2**20 + 1)
    with counted(store) as requests:
        sha256 = await store.put(video, "big.mp4")
    assert sum(r.startswith("PUT") and "partNumber=" in r for r in requests) == 3
    assert await store.stat("big.mp4") == (12 * 2**20 + 1, "video/mp4", sha256)
    await store.get("big.mp4", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == video.read_bytes()


async def test_the_same_bytes_are_sent_once(store, tmp_path):
    video = random_file(tmp_path, 1000)
    await store.put(video, "once.mp4")
    with counted(store) as requests:
        await store.put(video, "once.mp4")
    assert [r.split()[0] for r in requests] == ["HEAD"]

    changed = random_file(tmp_path, 1000, "other.mp4")  # as long, other bytes
    sha256 = await store.put(changed, "once.mp4")
    assert (await store.stat("once.mp4")).sha256 == sha256


async def test_presigned_link_works_without_credentials_and_only_as_signed(store, tmp_path):
    video = random_file(tmp_path, 1000)
    await store.put(video, "avatar/a.mp4")
    link = await store.presign("avatar/a.mp4", 60)

    def read(url):
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read(), answer.headers["Content-Type"]

    assert await asyncio.to_thread(read, link) == (video.read_bytes(), "video/mp4")
    start, signature = link.split("X-Amz-Signature=")
    forged = start + "X-Amz-Signature=" + signature[::-1]
    for bad in (forged, link.replace("a.mp4", "b.mp4"), link.split("?")[0]):
        with pytest.raises(urllib.error.HTTPError) as refused:
            await asyncio.to_thread(read, bad)
        refused.value.close()
        # Swift answers 400, not 403, where there is no signature at all.
        assert refused.value.code in (400, 403), bad


async def test_presigned_link_expires(store, tmp_path):
    await store.put(random_file(tmp_path, 10), "short.mp4")
    link = await store.presign("short.mp4", 1)
    await asyncio.sleep(2.1)
    with pytest.raises(urllib.error.HTTPError) as refused:
        await asyncio.to_thread(urllib.request.urlopen, link, None, 10)
    refused.value.close()
    assert refused.value.code == 403


async def test_missing_key_and_missing_bucket_are_told_apart(store, make_store, tmp_path):
    elsewhere = make_store(bucket="nowhere")
    for operation in (lambda s: s.stat("no.mp4"), lambda s: s.get("no.mp4", tmp_path / "x")):
        error = await error_of(operation(store))
        assert error.code == "object_not_found"
        assert "no.mp4" in error.message
        error = await error_of(operation(elsewhere))
        assert error.code == "bucket_not_found"
        assert "nowhere" in error.message
    assert (await error_of(elsewhere.put(random_file(tmp_path, 10), "a.mp4"))).code == "bucket_not_found"
    assert list(tmp_path.glob("x*")) == []


@pytest.mark.parametrize("changes", [{"secret_key": "not-the-secret"}, {"access_key": "demo:stranger"}])
async def test_wrong_credentials(make_store, tmp_path, changes):
    store = make_store(**changes)
    video = random_file(tmp_path, 10)
    for operation in (store.stat("a"), store.get("a", tmp_path / "x"), store.put(video, "a"), store.delete("a")):
        started = time.monotonic()
        error = await error_of(operation)
        assert error.code == "store_denied"
        assert time.monotonic() - started < 2, "a refusal is not worth a retry"
        assert "not-the-secret" not in f"{error.as_dict()}"


async def test_too_large_is_refused_before_it_is_read(store, tmp_path):
    await store.put(random_file(tmp_path, 3_000_000), "large.mp4")
    error = await error_of(store.get("large.mp4", tmp_path / "x", max_bytes=2_999_999))
    assert error.code == "too_large"
    assert "has 3000000 bytes" in error.message, "the store says the size; nothing need be read"
    assert list(tmp_path.glob("x*")) == []


async def test_an_input_by_key_is_fetched_within_its_limits(store, tmp_path):
    Image.new("RGB", (80, 60)).save(tmp_path / "a.png")
    await store.put(tmp_path / "a.png", "templates/a.png", "image/png")
    inputs = Inputs(store, GuardedFetcher(), 10, 100_000, 100_000, 100_000, 60)
    source, dest = Source("input_image_minio_path", "templates/a.png", "key"), tmp_path / "in" / "reference"
    assert (await fetch_image(source, dest, inputs, min_side=32)).width == 80

    for limits, wanted, code in (
        (inputs, Source("input_image_minio_path", "templates/b.png", "key"), "object_not_found"),
        (replace(inputs, max_image_bytes=10), source, "too_large"),
        (replace(inputs, timeout_s=0.0), source, "fetch_timeout"),
    ):
        error = await error_of(fetch_image(wanted, dest, limits, min_side=32))
        assert (error.code, error.field) == (code, "input_image_minio_path")
        assert list(dest.parent.iterdir()) == []


def test_a_store_that_is_not_configured_names_what_is_missing():
    with pytest.raises(JobError) as error:
        ObjectStore.from_settings(Settings(minio_endpoint="x:1", minio_bucket="b"))
    assert error.value.code == "no_store"
    assert "MINIO_SECRET_KEY" in error.value.message
    assert "MINIO_BUCKET" not in error.value.message
