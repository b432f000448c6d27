"""worker/store.py when the store is away, busy or cut off, and when the worker is cancelled."""

import asyncio
import socket
import time

import pytest

from demo.s3_server import S3Server, S3ServerError
from worker.settings import Settings
from worker.store import ObjectStore

from .traffic import CuttingProxy, counted, error_of, random_file

pytestmark = pytest.mark.store


async def test_a_store_that_is_down_is_named(make_store, s3):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error = await error_of(make_store(endpoint=f"127.0.0.1:{port}").stat("a"))
    assert error.code == "store_unavailable"
    assert f"127.0.0.1:{port}" in error.message
    assert "refused" in error.message
    assert s3.secret_key not in f"{error.as_dict()}"


async def test_tls_to_a_store_without_tls_says_what_to_set(make_store):
    error = await error_of(make_store(secure=True).stat("a"))
    assert error.code == "store_unavailable"
    assert "MINIO_USE_SSL=false" in error.hint


async def test_an_interrupted_upload_is_sent_again(make_store, s3, bucket, tmp_path):
    video = random_file(tmp_path, 2_000_000)
    # Connection 0 carries HEAD and then the PUT, which is cut; another one completes it.
    proxy = CuttingProxy(s3.port, cut={0})
    store = make_store(endpoint=f"127.0.0.1:{proxy.port}")
    try:
        sha256 = await store.put(video, "cut.mp4")
    finally:
        proxy.close()
    assert proxy.connections >= 2
    assert f"PUT /{bucket}/cut.mp4".encode() in proxy.sent, "the cut hit something else than the upload"
    assert await make_store().stat("cut.mp4") == (2_000_000, "video/mp4", sha256)


async def test_an_interrupted_part_does_not_start_the_file_anew(make_store, s3, tmp_path):
    video = random_file(tmp_path, 12 * 2**20)
    proxy = CuttingProxy(s3.port, cut={0}, after=7 * 2**20)
    store = make_store(endpoint=f"127.0.0.1:{proxy.port}", part_bytes=5 * 2**20)
    try:
        with counted(store) as requests:
            sha256 = await store.put(video, "parts.mp4")
    finally:
        proxy.close()
    assert proxy.connections >= 2
    assert sum("partNumber=1&" in r or r.endswith("partNumber=1") for r in requests) == 1
    assert (await make_store().stat("parts.mp4")).sha256 == sha256


async def test_an_interrupted_download_is_read_again(make_store, s3, tmp_path):
    video = random_file(tmp_path, 2_000_000)
    await make_store().put(video, "down.mp4")
    proxy = CuttingProxy(s3.port, cut={0}, down=True)
    try:
        await make_store(endpoint=f"127.0.0.1:{proxy.port}").get("down.mp4", tmp_path / "back")
    finally:
        proxy.close()
    assert proxy.connections == 2
    assert (tmp_path / "back").read_bytes() == video.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back", "video.mp4"]


async def test_a_download_that_never_completes_leaves_nothing(make_store, s3, tmp_path):
    await make_store().put(random_file(tmp_path, 2_000_000), "never.mp4")
    proxy = CuttingProxy(s3.port, cut=set(range(9)), down=True)
    try:
        error = await error_of(make_store(endpoint=f"127.0.0.1:{proxy.port}").get("never.mp4", tmp_path / "back"))
    finally:
        proxy.close()
    assert error.code == "store_unavailable"
    assert proxy.connections == 4
    assert [p.name for p in tmp_path.iterdir()] == ["video.mp4"]


async def test_a_busy_store_is_asked_again_later(make_store, s3, tmp_path):
    await make_store().put(random_file(tmp_path, 10), "busy.mp4")
    proxy = CuttingProxy(s3.port, busy={0, 1})
    started = time.monotonic()
    try:
        assert await make_store(endpoint=f"127.0.0.1:{proxy.port}").get("busy.mp4", tmp_path / "back") == 10
    finally:
        proxy.close()
    assert proxy.connections == 3
    assert time.monotonic() - started >= 1.5, "it backs off, and longer the second time"


async def test_a_cancelled_upload_leaves_nothing(make_store, s3, tmp_path):
    store = make_store(part_bytes=5 * 2**20)
    video = random_file(tmp_path, 40 * 2**20)
    with counted(store) as requests:
        upload = asyncio.create_task(store.put(video, "cancelled.mp4"))
        while not any("partNumber=1" in r for r in requests):
            await asyncio.sleep(0.01)
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
    assert requests[-1].startswith("DELETE"), "the started multipart upload is taken back"
    assert sum("partNumber=" in r for r in requests) < 8
    assert (await error_of(store.stat("cancelled.mp4"))).code == "object_not_found"


async def test_the_data_survive_a_restart(tmp_path):
    video = random_file(tmp_path, 1000)
    for run in (1, 2):
        with S3Server(tmp_path / "data", secret_key="kept") as server:
            store = ObjectStore.from_settings(Settings(**{k.lower(): v for k, v in server.environment("jobs").items()}))
            if run == 1:
                server.make_bucket("jobs")
                await store.put(video, "a.mp4")
            await store.get("a.mp4", tmp_path / "back")
            processes = list(server._processes.values())
        assert all(process.poll() is not None for process in processes)
    assert (tmp_path / "back").read_bytes() == video.read_bytes()


def test_a_port_in_use_is_said(s3, tmp_path):
    with pytest.raises(S3ServerError, match=f"port {s3.port} is in use"):
        S3Server(tmp_path, port=s3.port).start()
