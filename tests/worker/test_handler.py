"""handler.py under runpod.serverless.start, as in production: queue, SDK loop, stand-in ComfyUI, real S3 store."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import handler
from cli.client import EndpointClient
from cli.outcome import RunFailed
from demo.queue_server import QueueServer
from demo.standin.testcard import Card, write_test_card
from worker.find_comfyui import PINNED_VERSION
from worker.operations import load_operations
from worker.settings import Settings

ROOT = Path(__file__).parents[2]
GOOD = {
    "input_image_minio_path": "in/person.png",
    "driving_video_path": "in/driving.mp4",
    **{"width": 128, "height": 96, "fps": 12},
}


@pytest.fixture(scope="module")
def queue():
    with QueueServer() as server:
        yield server


@pytest.fixture(scope="module")
def environment(queue, s3, bucket, tmp_path_factory):
    folder = tmp_path_factory.mktemp("handler")
    Image.fromarray(np.zeros((256, 192, 3), np.uint8)).save(folder / "person.png")
    write_test_card(folder / "driving.mp4", Card(128, 96, Fraction(12), 18, True))
    for name in ("person.png", "driving.mp4"):
        s3.client().fput_object(bucket, f"in/{name}", str(folder / name))
    (folder / "work").mkdir()
    return os.environ | queue.worker_env() | s3.environment(bucket) | {"WORK_PATH": str(folder / "work")}


@contextmanager
def started(environment):
    """A worker's process; what it printed is in `.printed`."""
    printed = Path(environment["WORK_PATH"]) / "printed.txt"
    with printed.open("w") as output:
        command = [sys.executable, "-m", "demo.worker", "--standin"]
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    process.printed = printed
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def worker(environment):
    with started(environment) as process:
        yield process


@pytest.fixture
def client(queue, worker):
    return client_of(queue, worker)


def client_of(queue, worker):
    """A client of the queue, once its worker has asked for a job."""
    made = EndpointClient(queue.endpoint, queue.url, poll_s=0.1)
    deadline = time.monotonic() + 60
    while made.health()["workers"] == {"idle": 0, "running": 0}:
        assert worker.poll() is None, worker.printed.read_text()
        assert time.monotonic() < deadline, worker.printed.read_text()
        time.sleep(0.1)
    return made


def comfyui_url(worker):
    words = worker.printed.read_text().split()
    return next(word.rstrip(",") for word in reversed(words) if word.startswith("http://127.0.0.1:"))


def fault(worker, kind):
    body = json.dumps({"fault": kind, "times": 1}).encode()
    urllib.request.urlopen(f"{comfyui_url(worker)}/standin/fault", body, timeout=5).close()


def left_behind(environment):
    base = Path(environment["WORK_PATH"]) / "comfyui"
    folders = [base / "input", base / "output", base / "temp" / "comfy_motion"]
    return [path for folder in folders if folder.exists() for path in folder.iterdir()]


@pytest.mark.store
def test_a_job_over_the_queue_with_progress_and_then_a_warm_one(client, environment):
    first = client.run(GOOD, timeout=60)
    assert first.output["success"]
    assert first.output["minio_key"] == f"avatar/{first.job_id}.mp4"
    assert first.output["worker"]["cold_start"] is True
    second = client.run(GOOD, timeout=60)
    assert second.output["worker"]["cold_start"] is False
    assert left_behind(environment) == []


@pytest.mark.store
def test_progress_never_falls_and_comes_at_most_once_a_second(client, worker):
    fault(worker, "slow=0.15")
    done = client.run(GOOD, timeout=60)
    percents = [update["percent"] for update in done.progress]
    assert len(percents) >= 3
    assert percents == sorted(percents)
    assert done.progress[-1]["elapsed_seconds"] >= len(done.progress) - 2
    assert any(update["windows"] == 1 for update in done.progress)


@pytest.mark.store
def test_a_failed_job_is_failed_on_the_platform_and_its_error_can_be_read(client, environment):
    with pytest.raises(RunFailed, match="does not know") as caught:
        client.run({**GOOD, "widht": 5}, timeout=60)
    assert caught.value.status["status"] == "FAILED"
    assert caught.value.error["code"] == "unknown_field"
    assert caught.value.error["hint"] == "Did you mean `width`?"
    assert caught.value.status["output"]["success"] is False
    assert "versions" in caught.value.status["output"]


@pytest.mark.store
def test_cancel_reaches_comfyui_and_the_next_job_works(client, worker, environment):
    fault(worker, "slow=1")
    job = client.submit(GOOD)
    deadline = time.monotonic() + 20
    while (client.status(job).get("output") or {}).get("percent", 0) < 4 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert client.cancel(job)["status"] == "CANCELLED"
    deadline = time.monotonic() + 10
    while left_behind(environment) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_behind(environment) == []
    running = json.load(urllib.request.urlopen(f"{comfyui_url(worker)}/queue", timeout=5))
    assert running == {"queue_running": [], "queue_pending": []}
    assert client.run(GOOD, timeout=60).output["success"]


@pytest.mark.store
def test_a_crash_fails_one_job_only(client, worker):
    fault(worker, "crash")
    with pytest.raises(RunFailed, match="ComfyUI ended by itself") as caught:
        client.run(GOOD, timeout=60)
    assert caught.value.error["code"] == "engine_crashed"
    assert "was told to crash" in caught.value.error["message"]
    assert client.run(GOOD, timeout=60).output["success"]


@pytest.mark.store
def test_no_secret_and_no_presigned_link_is_printed(client, worker, s3):
    link = client.run(GOOD, timeout=60).output["presigned_url"]
    printed = worker.printed.read_text()
    assert s3.secret_key not in printed
    assert link.split("X-Amz-Signature=")[1][:64] not in printed


@pytest.mark.store
def test_sigterm_ends_the_worker_and_its_comfyui(client, worker):
    url = comfyui_url(worker)
    os.kill(worker.pid, signal.SIGTERM)
    worker.wait(timeout=20)
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{url}/queue", timeout=2)


@pytest.mark.store
def test_a_worker_whose_comfyui_dies_at_every_start_ends_with_its_last_words(environment, tmp_path):
    with QueueServer() as queue, started(environment | queue.worker_env() | {"WORK_PATH": str(tmp_path)}) as worker:
        client = client_of(queue, worker)
        fault(worker, "doomed")
        for words in ("told to crash", "told to end at every start"):
            with pytest.raises(RunFailed, match=words) as caught:
                client.run(GOOD, timeout=60)
            assert caught.value.error["code"] == "engine_crashed"
        assert "this worker ends too" in caught.value.error["hint"]
        assert worker.wait(timeout=30) == 1
    printed = worker.printed.read_text()
    assert "This worker gave up" in printed.splitlines()[-1]
    assert "told to end at every start" in printed
    assert printed.count("ComfyUI started at") == 3


# --- without the SDK ---------------------------------------------------------------------------------------------


def test_a_failure_goes_out_as_text_because_the_platform_loses_objects():
    error = {"code": "no_person", "message": "m", "field": None, "hint": "h"}
    sent = handler.answer_for_runpod({"error": error, "success": False})
    assert json.loads(sent["error"]) == error
    assert sent["success"] is False
    assert "refresh_worker" not in sent
    assert handler.answer_for_runpod({"error": error, "success": False}, engine_is_down=True)["refresh_worker"]
    assert handler.answer_for_runpod({"error": {**error, "code": "engine_unreachable"}})["refresh_worker"]
    good = {"success": True}
    assert handler.answer_for_runpod(good) is good
    assert handler.answer_for_runpod(good, engine_is_down=True) is good


def test_check_prints_what_the_worker_sees_and_no_secret(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIO_SECRET_KEY", "a-secret-of-mine")
    monkeypatch.setenv("MINIO_ACCESS_KEY", "my-access-key")
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    monkeypatch.setenv("MODEL_PATH", str(tmp_path))
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "wan_2.1_vae.safetensors").write_bytes(b"x")
    assert handler.main(["--check"]) == 1
    printed = capsys.readouterr().out
    assert "a-secret-of-mine" not in printed
    assert "my-access-key" not in printed
    assert "COMFYUI_PATH is" in printed
    assert "present  vae/wan_2.1_vae.safetensors" in printed
    assert "MISSING  clip_vision/clip_vision_h.safetensors" in printed
    assert "MINIO_ENDPOINT, MINIO_BUCKET" in printed
    for name, operation in load_operations().items():
        default = " (DEFAULT_OPERATION)" if name == "avatar" else ""
        block = printed.split(f"Operation {name}{default}\n")[1].split("Operation ")[0]
        for graph_name, graph in operation.graphs.items():
            assert f"  {graph_name}.json: graph sha256 {graph.sha256}" in block
        models = [line for line in block.splitlines() if line.startswith(("  present", "  MISSING"))]
        assert models
        assert len(models) == len(set(models)), "each once, however many graphs name it"


@pytest.mark.parametrize(("default", "good"), [("segment", True), ("i2v", False), ("portrait", False)])
def test_check_is_good_when_the_default_operation_could_run(tmp_path, monkeypatch, capsys, default, good):
    tree = tmp_path / "ComfyUI"
    tree.mkdir()
    (tree / "main.py").write_text("")
    (tree / "comfyui_version.py").write_text(f'__version__ = "{PINNED_VERSION}"\n')
    (tmp_path / "sam2").mkdir()
    (tmp_path / "sam2" / "sam2.1_hiera_large.safetensors").write_bytes(b"x")
    store = {"MINIO_ENDPOINT": "127.0.0.1:9", "MINIO_ACCESS_KEY": "k" * 8, "MINIO_SECRET_KEY": "s" * 8}
    paths = {"COMFYUI_PATH": str(tree), "MODEL_PATH": str(tmp_path), "MINIO_BUCKET": "bucket"}
    for name, value in {**store, **paths, "DEFAULT_OPERATION": default}.items():
        monkeypatch.setenv(name, value)
    assert handler.main(["--check"]) == (0 if good else 1)
    assert ("DEFAULT_OPERATION is 'portrait'" in capsys.readouterr().out) == (default == "portrait")


def test_a_wrong_setting_is_one_sentence_and_no_traceback(monkeypatch, capsys):
    monkeypatch.setenv("JOB_TIMEOUT_S", "soon")
    assert handler.main(["--check"]) == 1
    assert "JOB_TIMEOUT_S" in capsys.readouterr().err


def test_settings_that_the_worker_reads_are_all_there():
    shown = Settings(_env_file=None).masked()
    assert {"JOB_TIMEOUT_S", "MINIO_ENDPOINT", "DEFAULT_OPERATION"} <= set(shown)
