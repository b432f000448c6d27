"""Videos of this machine on their way to a worker: through the bucket, from this process, or not at all."""

import asyncio
import hashlib
from fractions import Fraction

import pytest
from PIL import Image

import cli.places
import run
from cli.loopback import Loopback
from cli.outcome import Finished
from demo.queue_server import QueueServer
from demo.standin.testcard import Card, write_test_card
from worker.errors import JobError
from worker.finished import Expected, check_mp4
from worker.media import Inputs, Source, fetch_video
from worker.redact import Redactor
from worker.settings import Settings

from .cli_world import answer_of, use_standin

PICTURE = ["--image", "https://example.com/p.jpg"]


@pytest.fixture
def dance(tmp_path, monkeypatch):
    """A folder to run in, without a store, and a video in it; the video."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORK_PATH", str(tmp_path / "work"))
    for name in ("MINIO_ENDPOINT", "MINIO_BUCKET", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    write_test_card(tmp_path / "my dance.mp4", Card(128, 96, Fraction(12), 18, True))
    return tmp_path / "my dance.mp4"


@pytest.fixture
def stored(s3, bucket, monkeypatch, dance):
    """The same with a store: what is below `inputs/`, {key: sha256 of its content} and when each was written."""
    for name, value in s3.environment(bucket).items():
        monkeypatch.setenv(name, value)
    client = s3.client()

    def seen():
        found = list(client.list_objects(bucket, "inputs/", recursive=True))
        hashes = {}
        for one in found:
            answer = client.get_object(bucket, one.object_name)
            hashes[one.object_name] = hashlib.sha256(answer.data).hexdigest()
            answer.close()
            answer.release_conn()
        return hashes, [one.last_modified for one in found]

    return seen


@pytest.fixture
def asked(monkeypatch):
    """The jobs that a recording endpoint gets."""
    jobs = []

    class Endpoint:
        def run(self, job_input, on_news, **limits):
            jobs.append(job_input)
            return Finished("j1", {"success": True, "minio_key": "k"}, 0, 0)

    monkeypatch.setattr(cli.places, "place_of", lambda *where: cli.places.Remote(Endpoint()))
    monkeypatch.setattr("cli.one_job.place_of", cli.places.place_of)
    return jobs


@pytest.mark.store
def test_a_video_is_put_into_the_bucket_once_and_its_key_sent(stored, asked, dance, monkeypatch, capsys):
    digest = hashlib.sha256(dance.read_bytes()).hexdigest()
    key = f"inputs/{digest}.mp4"
    assert run.main([*PICTURE, "--video", dance.name]) == 0, capsys.readouterr().err
    assert "Uploading my dance.mp4" in capsys.readouterr().err
    hashes, times = stored()
    assert hashes == {key: digest}

    async def never(*_):
        raise AssertionError("it is there already")

    monkeypatch.setattr("worker.store.ObjectStore.put", never)
    assert run.main(["avatar", *PICTURE, "--video", dance.name]) == 0, capsys.readouterr().err
    assert stored() == (hashes, times)
    assert [job.get("video_minio_path") or job.get("driving_video_path") for job in asked] == [key, key]
    assert not [name for job in asked for name in job if name in ("video", "video_url", "driving_video_url")]


@pytest.mark.store
def test_a_whole_job_from_two_local_files(stored, dance, monkeypatch, capsys):
    use_standin(monkeypatch.setattr)
    Image.new("RGB", (192, 256), (90, 90, 90)).save("person.jpg")
    flags = ["--image", "person.jpg", "--video", dance.name, "--width", "128", "--height", "96", "--fps", "12"]
    answer = answer_of(capsys, "avatar", *flags, "--output", "out.mp4")
    assert answer["video_path"] == "out.mp4"
    assert check_mp4(dance.with_name("out.mp4"), Expected(128, 96, 12.0, 18, has_audio=True)).ok
    assert sorted(key.rpartition(".")[2] for key in stored()[0]) == ["jpg", "mp4"]


def test_an_endpoint_without_a_store_here_is_not_asked(dance, capsys):
    with QueueServer() as server:
        for operation in ([], ["avatar"]):
            assert run.main([*operation, *PICTURE, "--video", dance.name, "--url", server.url]) == 2
            said = capsys.readouterr().err
            for words in (
                "my dance.mp4 is a file of this machine",
                "Missing here: MINIO_ENDPOINT",
                "own bucket",
                "URL",
            ):
                assert words in said
            assert "no_store" in said
            assert "video\n" in said.partition("  flag  ")[2]
        assert server.jobs._jobs == {}


def test_a_range_outside_the_video_and_no_video_cost_nothing(asked, dance, monkeypatch, capsys):
    """Without a server at the store's address: nothing is sent there either."""
    environment = {"ENDPOINT": "127.0.0.1:9", "ACCESS_KEY": "a", "SECRET_KEY": "b", "BUCKET": "c"}
    for name, value in environment.items():
        monkeypatch.setenv(f"MINIO_{name}", value)
    Image.new("RGB", (144, 256)).save("p.png")
    assert run.main(["--image", "p.png", "--video", dance.name, "--start_time", "99"]) == 2
    said = capsys.readouterr().err
    assert "range_outside_video" in said
    assert run.main(["--image", "p.png", "--video", "p.png"]) == 2
    said = capsys.readouterr().err
    for words in ("not_a_video", "It is a PNG file", "  flag  --video"):
        assert words in said
    assert asked == []


def test_without_a_store_the_worker_of_this_process_fetches_it_from_here(dance, monkeypatch, capsys):
    """With the worker's own fetcher and its guard; and only while the job runs."""
    seen = {}

    class Worker:
        def __init__(self, settings):
            self.settings, self.redact = settings, Redactor.of(settings)

        async def start(self): ...
        async def stop(self): ...

    async def job(job, worker, send, max_answer_bytes=None):
        seen.update(job["input"], exempt=worker.settings.allow_private_addresses)
        inputs = Inputs.from_settings(worker.settings, None)
        url = seen["video_url"]
        seen["info"] = await fetch_video(Source("video_url", url, "url"), dance.with_name("got"), inputs)
        with pytest.raises(JobError, match="HTTP 404"):
            await inputs.fetcher.fetch(url.rpartition("/")[0], dance.with_name("no"), 10**6)
        return {"success": True, "minio_key": "k", "timings": {"total": 1.0}}

    monkeypatch.setattr(cli.places, "Worker", Worker)
    monkeypatch.setattr(cli.places, "run_job", job)
    monkeypatch.setenv("ALLOW_PRIVATE_ADDRESSES", "10.0.0.1:80")
    assert run.main([*PICTURE, "--video", dance.name]) == 0, capsys.readouterr().err
    assert dance.with_name("got").read_bytes() == dance.read_bytes()
    assert seen["info"].num_frames == 18
    assert "video_minio_path" not in seen
    host = seen["video_url"].split("/")[2]
    assert host.startswith("127.0.0.1:")
    assert seen["exempt"] == ["10.0.0.1:80", host]
    assert Settings.from_env().allow_private_addresses == ["10.0.0.1:80"]
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(_asked(host, b"GET / HTTP/1.1\r\n\r\n"))


async def _asked(address, request):
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
        await writer.wait_closed()


def test_the_server_gives_that_file_and_nothing_else(tmp_path, caplog):
    content = bytes(range(256)) * 4096
    (tmp_path / "é a.mp4").write_bytes(content)
    (tmp_path / "other").write_bytes(b"secret")

    async def story():
        async with Loopback() as loopback:
            url = loopback.offer(tmp_path / "é a.mp4")
            target = url.removeprefix(f"http://{loopback.address}")
            token = target.split("/")[1]
            assert len(token) >= 43
            assert loopback.offer(tmp_path / "é a.mp4") != url

            async def ask(line):
                answer = await _asked(loopback.address, f"{line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                head, _, body = answer.partition(b"\r\n\r\n")
                return head.split(b"\r\n"), body

            for method, expected in (("GET", content), ("HEAD", b"")):
                head, body = await ask(f"{method} {target}")
                assert head[0] == b"HTTP/1.1 200 OK"
                assert f"Content-Length: {len(content)}".encode() in head
                assert body == expected
            for other in ("/", f"/{token}", f"/{token}/other", f"/{token}/../other", "/other", f"{tmp_path}/other"):
                head, body = await ask(f"GET {other}")
                assert (head[0], body) == (b"HTTP/1.1 404 Not Found", b"")
            for method in ("POST", "PUT", "DELETE"):
                assert (await ask(f"{method} {target}"))[0][0].startswith(b"HTTP/1.1 405")
            assert (await _asked(loopback.address, b"hello\r\n\r\n")).startswith(b"HTTP/1.1 400")
            assert await _asked(loopback.address, b"x" * 100_000) == b""
            # One that says nothing does not keep the server from ending.
            _, idle = await asyncio.open_connection(*loopback.address.split(":"))
            await asyncio.sleep(0.05)
        idle.close()

    asyncio.run(asyncio.wait_for(story(), 8))
    assert not [record for record in caplog.records if record.name == "asyncio"]
