"""worker/store.py against a real S3 server: signatures, multipart, presigned links, and everything that goes wrong."""

import asyncio
import hashlib
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from demo.s3_server import S3Server, S3ServerError
from worker.errors import JobError
from worker.guard import GuardedFetcher
from worker.media import Inputs, Source, fetch_image
from worker.settings import Settings
from worker.store import ObjectStore

pytestmark = pytest.mark.store


def _file(folder: Path, size: int, name: str = "video.mp4") -> Path:
    path = folder / name
    path.write_bytes(os.urandom(size))
    return path


async def _code(awaitable) -> JobError:
    with pytest.raises(JobError) as caught:
        await awaitable
    return caught.value


class CuttingProxy:
    """A TCP proxy that hangs up on the connections numbered in `cut` (from 0), each after `after` bytes
    upwards (downwards with `down`), and answers 503 SlowDown on those in `busy`."""

    def __init__(
        self,
        port: int,
        cut: set[int] | None = None,
        after: int = 100_000,
        down: bool = False,
        busy: set[int] | None = None,
    ):
        self.cut, self.busy, self.after, self.down, self.target = cut or set(), busy or set(), after, down, port
        self.connections, self.sent = 0, bytearray()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            number, self.connections = self.connections, self.connections + 1
            threading.Thread(target=self._serve, args=(client, number), daemon=True).start()

    def _serve(self, client: socket.socket, number: int) -> None:
        limit = self.after if number in self.cut else None
        with client, socket.create_connection(("127.0.0.1", self.target)) as server:
            if number in self.busy:
                client.recv(65536)
                body = b"<Error><Code>SlowDown</Code></Error>"
                head = f"HTTP/1.1 503 SlowDown\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
                client.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
                return
            back = threading.Thread(target=self._pump, args=(server, client, limit if self.down else None), daemon=True)
            back.start()
            self._pump(client, server, None if self.down else limit)
            back.join(5)

    def _pump(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        passed = 0
        try:
            while data := source.recv(65536):
                passed += len(data)
                if limit is not None:
                    self.sent += data
                    if passed > limit:
                        break
                sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@contextmanager
def counted(store: ObjectStore):
    """Every HTTP request the store's client sends, as 'METHOD path?query'."""
    requests: list[str] = []
    pool = store._client._http
    original = pool.urlopen

    def urlopen(method, url, **kwargs):
        requests.append(f"{method} {url}")
        return original(method, url, **kwargs)

    pool.urlopen = urlopen
    try:
        yield requests
    finally:
        del pool.urlopen


async def test_put_stat_get_delete(store, tmp_path):
    video = _file(tmp_path, 300_000)
    sha256 = await store.put(video, "avatar/user 1/ä.mp4")
    assert sha256 == hashlib.sha256(video.read_bytes()).hexdigest()
    assert await store.stat("avatar/user 1/ä.mp4") == (300_000, "video/mp4", sha256)

    back = tmp_path / "in" / "back.mp4"
    assert await store.get("avatar/user 1/ä.mp4", back, max_bytes=300_000) == 300_000
    assert back.read_bytes() == video.read_bytes()

    await store.delete("avatar/user 1/ä.mp4")
    assert (await _code(store.stat("avatar/user 1/ä.mp4"))).code == "object_not_found"


async def test_a_big_file_goes_in_parts(make_store, tmp_path):
    store = make_store(part_bytes=5 * 2**20)
    video = _file(tmp_path, 12 * 2**20 + 1)
    with counted(store) as requests:
        sha256 = await store.put(video, "big.mp4")
    assert sum(r.startswith("PUT") and "partNumber=" in r for r in requests) == 3
    assert await store.stat("big.mp4") == (12 * 2**20 + 1, "video/mp4", sha256)
    await store.get("big.mp4", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == video.read_bytes()


async def test_the_same_bytes_are_sent_once(store, tmp_path):
    video = _file(tmp_path, 1000)
    await store.put(video, "once.mp4")
    with counted(store) as requests:
        await store.put(video, "once.mp4")
    assert [r.split()[0] for r in requests] == ["HEAD"]

    changed = _file(tmp_path, 1000, "other.mp4")  # as long, other bytes
    sha256 = await store.put(changed, "once.mp4")
    assert (await store.stat("once.mp4")).sha256 == sha256


async def test_presigned_link_works_without_credentials_and_only_as_signed(store, tmp_path):
    video = _file(tmp_path, 1000)
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
    await store.put(_file(tmp_path, 10), "short.mp4")
    link = await store.presign("short.mp4", 1)
    await asyncio.sleep(2.1)
    with pytest.raises(urllib.error.HTTPError) as refused:
        await asyncio.to_thread(urllib.request.urlopen, link, None, 10)
    refused.value.close()
    assert refused.value.code == 403


async def test_missing_key_and_missing_bucket_are_told_apart(store, make_store, tmp_path):
    elsewhere = make_store(bucket="nowhere")
    for operation in (lambda s: s.stat("no.mp4"), lambda s: s.get("no.mp4", tmp_path / "x")):
        error = await _code(operation(store))
        assert error.code == "object_not_found"
        assert "no.mp4" in error.message
        error = await _code(operation(elsewhere))
        assert error.code == "bucket_not_found"
        assert "nowhere" in error.message
    assert (await _code(elsewhere.put(_file(tmp_path, 10), "a.mp4"))).code == "bucket_not_found"
    assert list(tmp_path.glob("x*")) == []


@pytest.mark.parametrize("changes", [{"secret_key": "not-the-secret"}, {"access_key": "demo:stranger"}])
async def test_wrong_credentials(make_store, tmp_path, changes):
    store = make_store(**changes)
    video = _file(tmp_path, 10)
    for operation in (store.stat("a"), store.get("a", tmp_path / "x"), store.put(video, "a"), store.delete("a")):
        started = time.monotonic()
        error = await _code(operation)
        assert error.code == "store_denied"
        assert time.monotonic() - started < 2, "a refusal is not worth a retry"
        assert "not-the-secret" not in f"{error.as_dict()}"


async def test_a_store_that_is_down_is_named(make_store, s3):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error = await _code(make_store(endpoint=f"127.0.0.1:{port}").stat("a"))
    assert error.code == "store_unavailable"
    assert f"127.0.0.1:{port}" in error.message
    assert "refused" in error.message
    assert s3.secret_key not in f"{error.as_dict()}"


async def test_tls_to_a_store_without_tls_says_what_to_set(make_store):
    error = await _code(make_store(secure=True).stat("a"))
    assert error.code == "store_unavailable"
    assert "MINIO_USE_SSL=false" in error.hint


async def test_too_large_is_refused_before_it_is_read(store, tmp_path):
    await store.put(_file(tmp_path, 3_000_000), "large.mp4")
    error = await _code(store.get("large.mp4", tmp_path / "x", max_bytes=2_999_999))
    assert error.code == "too_large"
    assert "has 3000000 bytes" in error.message, "the store says the size; nothing need be read"
    assert list(tmp_path.glob("x*")) == []


async def test_an_interrupted_upload_is_sent_again(make_store, s3, tmp_path):
    video = _file(tmp_path, 2_000_000)
    # Connection 0 carries HEAD and then the PUT, which is cut; another one completes it.
    proxy = CuttingProxy(s3.port, cut={0})
    store = make_store(endpoint=f"127.0.0.1:{proxy.port}")
    try:
        sha256 = await store.put(video, "cut.mp4")
    finally:
        proxy.close()
    assert proxy.connections >= 2
    assert b"PUT /jobs/cut.mp4" in proxy.sent, "the cut hit something else than the upload"
    assert await make_store().stat("cut.mp4") == (2_000_000, "video/mp4", sha256)


async def test_an_interrupted_part_does_not_start_the_file_anew(make_store, s3, tmp_path):
    video = _file(tmp_path, 12 * 2**20)
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
    video = _file(tmp_path, 2_000_000)
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
    await make_store().put(_file(tmp_path, 2_000_000), "never.mp4")
    proxy = CuttingProxy(s3.port, cut=set(range(9)), down=True)
    try:
        error = await _code(make_store(endpoint=f"127.0.0.1:{proxy.port}").get("never.mp4", tmp_path / "back"))
    finally:
        proxy.close()
    assert error.code == "store_unavailable"
    assert proxy.connections == 4
    assert [p.name for p in tmp_path.iterdir()] == ["video.mp4"]


async def test_an_input_by_key_is_fetched_within_its_limits(store, tmp_path):
    Image.new("RGB", (80, 60)).save(tmp_path / "a.png")
    await store.put(tmp_path / "a.png", "templates/a.png", "image/png")
    inputs = Inputs(store, GuardedFetcher(), timeout_s=10, max_image_bytes=100_000, max_video_bytes=100_000)
    source, dest = Source("input_image_minio_path", "templates/a.png", "key"), tmp_path / "in" / "reference"
    assert (await fetch_image(source, dest, inputs, min_side=32)).width == 80

    for limits, wanted, code in (
        (inputs, Source("input_image_minio_path", "templates/b.png", "key"), "object_not_found"),
        (replace(inputs, max_image_bytes=10), source, "too_large"),
        (replace(inputs, timeout_s=0.0), source, "fetch_timeout"),
    ):
        error = await _code(fetch_image(wanted, dest, limits, min_side=32))
        assert (error.code, error.field) == (code, "input_image_minio_path")
        assert list(dest.parent.iterdir()) == []


async def test_a_busy_store_is_asked_again_later(make_store, s3, tmp_path):
    await make_store().put(_file(tmp_path, 10), "busy.mp4")
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
    video = _file(tmp_path, 40 * 2**20)
    with counted(store) as requests:
        upload = asyncio.create_task(store.put(video, "cancelled.mp4"))
        while not any("partNumber=1" in r for r in requests):
            await asyncio.sleep(0.01)
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
    assert requests[-1].startswith("DELETE"), "the started multipart upload is taken back"
    assert sum("partNumber=" in r for r in requests) < 8
    assert (await _code(store.stat("cancelled.mp4"))).code == "object_not_found"


async def test_the_data_survive_a_restart(tmp_path):
    video = _file(tmp_path, 1000)
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


async def test_a_store_of_the_request_reaches_public_addresses_only(s3, tmp_path):
    r2 = {
        "endpoint_url": f"http://{s3.endpoint}",
        "access_key_id": s3.access_key,
        "secret_access_key": s3.secret_key,
        "bucket_name": "jobs",
    }
    video = _file(tmp_path, 100)
    # The proxy stands for the address inside the network: it must not even be connected to.
    proxy = CuttingProxy(s3.port)
    try:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            inside = ObjectStore.from_r2({**r2, "endpoint_url": f"http://{host}:{proxy.port}"})
            assert (await _code(inside.put(video, "r2.mp4"))).code == "address_refused"
        assert proxy.connections == 0
        allowed = ObjectStore.from_r2(
            {**r2, "endpoint_url": f"http://127.0.0.1:{proxy.port}"}, exempt=[f"127.0.0.1:{proxy.port}"]
        )
        await allowed.put(video, "r2.mp4")
        assert proxy.connections == 1
    finally:
        proxy.close()


async def test_a_store_of_the_request_names_what_is_missing():
    with pytest.raises(JobError) as error:
        ObjectStore.from_r2({"endpoint_url": "http://x"})
    assert (error.value.code, error.value.field) == ("missing_field", "r2.access_key_id")
    with pytest.raises(JobError) as error:
        ObjectStore.from_settings(Settings(minio_endpoint="x:1", minio_bucket="b"))
    assert error.value.code == "no_store"
    assert "MINIO_SECRET_KEY" in error.value.message
    assert "MINIO_BUCKET" not in error.value.message
