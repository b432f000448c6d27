"""Fixtures of the worker's tests: a stand-in ComfyUI and its client, a network, and a worker that takes jobs."""

import json
import socket
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from demo.standin.server import StandIn
from demo.standin.testcard import Card, write_test_card
from worker.jobs import run_job
from worker.own_loop import OwnLoop

from .comfy_graphs import QuickClient
from .small_net import Canary, Net
from .small_operation import Clip
from .standin_jobs import fault, left_behind, make_worker


@pytest.fixture
async def standin(tmp_path):
    server = StandIn(tmp_path / "base")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(standin):
    async with QuickClient(standin.base_url) as client:
        yield client


@pytest.fixture
async def network(monkeypatch):
    """(net, public canary, inside canary), and from here on no other network."""
    net, public, inside = Net(), Canary(), Canary()
    async with public.server() as public_server, inside.server() as inside_server:
        net.to_public = {80: public_server.port, 8080: public_server.port}
        net.to_inside = inside_server.port
        monkeypatch.setattr(socket, "getaddrinfo", net.getaddrinfo)
        monkeypatch.setattr(socket.socket, "connect", lambda sock, address: net.connect(sock, address))
        yield net, public, inside


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Inputs of every kind, good and bad: {key: file}."""
    folder = tmp_path_factory.mktemp("media")
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (256, 192, 3), np.uint8)).save(folder / "person.png")
    Image.new("RGB", (64, 64)).save(folder / "tiny.png")
    write_test_card(folder / "driving.mp4", Card(128, 96, Fraction(12), 18, True))
    write_test_card(folder / "silent.mp4", Card(128, 96, Fraction(25), 30, False))
    write_test_card(folder / "one_frame.mp4", Card(128, 96, Fraction(12), 1, False))
    whole = (folder / "driving.mp4").read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.mp4").write_text("this is no video\n" * 50)
    (folder / "page.mp4").write_text("<!DOCTYPE html><html><body>Sign in</body></html>")
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def loop():
    with OwnLoop() as own:
        yield own


@pytest.fixture(scope="module")
def worker(loop, s3, bucket, media, tmp_path_factory):
    for name, path in media.items():
        s3.client().fput_object(bucket, f"in/{name}", str(path))
    made = make_worker(s3, bucket, tmp_path_factory.mktemp("work"), allow_private_addresses=[s3.endpoint])
    made.operations["clip"] = Clip()
    loop.wait(made.start())
    yield made
    loop.wait(made.stop())


@pytest.fixture
def run(loop, worker):
    """Run one job to its answer; afterwards nothing of it may be left."""

    def go(job_input, job_id="job-1", send=lambda update: None, max_answer_bytes=None):
        answer = loop.wait(run_job({"id": job_id, "input": job_input}, worker, send, max_answer_bytes))
        assert left_behind(worker) == []
        json.dumps(answer)
        return answer

    yield go
    fault(worker, None)
