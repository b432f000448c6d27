"""worker/jobs.py: one job from its request to its answer, on the stand-in ComfyUI and a real S3 store.

Every test ends with the same question: is anything of the job left on the disk?
"""

import asyncio
import json
import os
import signal
import sys
import time
import urllib.request
from contextlib import contextmanager
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from demo.standin.testcard import Card, write_test_card
from tests.store.conftest import BUCKET, s3  # noqa: F401
from worker.engine import Engine
from worker.host import Worker
from worker.jobs import run_job
from worker.own_loop import OwnLoop
from worker.settings import Settings

pytestmark = pytest.mark.store

SMALL = {"width": 128, "height": 96, "fps": 12}
GOOD = {"input_image_minio_path": "in/person.png", "driving_video_path": "in/driving.mp4", **SMALL}
STANDIN = [sys.executable, "-m", "demo.standin", "--step-seconds", "0.001"]


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
def worker(loop, s3, media, tmp_path_factory):  # noqa: F811
    for name, path in media.items():
        s3.client().fput_object(BUCKET, f"in/{name}", str(path))
    made = make_worker(s3, tmp_path_factory.mktemp("work"))
    loop.wait(made.start())
    yield made
    loop.wait(made.stop())


def make_worker(s3, work, **changes):  # noqa: F811
    environment = {name.lower(): value for name, value in s3.environment(BUCKET).items()}
    settings = Settings(_env_file=None, **{**environment, "work_path": work, "job_timeout_s": 60, **changes})
    return Worker(settings, Engine(settings, command=STANDIN))


@pytest.fixture
def run(loop, worker):
    """Run one job to its answer; afterwards nothing of it may be left."""

    def go(job_input, job_id="job-1", send=lambda update: None):
        answer = loop.wait(run_job({"id": job_id, "input": job_input}, worker, send))
        assert left_behind(worker) == []
        json.dumps(answer)
        return answer

    yield go
    fault(worker, None)


def left_behind(worker):
    engine = worker.engine
    folders = (engine.input_dir, engine.output_dir, engine.temp_dir / "comfy_motion")
    return [path for folder in folders if folder.exists() for path in folder.iterdir()]


def fault(worker, kind, times=1):
    body = json.dumps({"fault": kind, "times": times}).encode()
    request = urllib.request.Request(
        f"{worker.engine.base_url}/standin/fault", body, {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=5).close()


def test_a_good_job_is_answered_with_everything_the_contract_names(run, worker, s3):  # noqa: F811
    updates = []
    answer = run(
        {**GOOD, "operation": "avatar", "user_id": "u", "avatar_id": "a.1", "seed": 7}, "job-7", updates.append
    )
    assert answer["success"], answer
    assert (answer["operation"], answer["seed"]) == ("avatar", 7)
    assert answer["minio_key"] == "avatar/u/a.1/job-7.mp4"
    assert (answer["width"], answer["height"], answer["fps"], answer["num_frames"]) == (128, 96, 12, 18)
    assert answer["duration_seconds"] == 1.5
    stored = s3.client().stat_object(BUCKET, answer["minio_key"])
    assert answer["video_size_bytes"] == stored.size
    with urllib.request.urlopen(answer["presigned_url"], timeout=5) as response:
        assert response.read(12)[4:8] == b"ftyp"
    assert answer["presigned_url_expires_at"].endswith("+00:00")
    assert {"check_request", "fetch", "wait_for_comfyui", "generate", "check", "upload", "total"} <= set(
        answer["timings"]
    )
    assert answer["timings"]["nodes"]["Animate in windows"] > 0
    versions = answer["versions"]
    assert versions["graph_sha256"] == worker.operations["avatar"].graph.sha256
    assert versions["project"]["version"]
    assert {"name", "folder", "sha256", "why"} == set(versions["models"][0])  # not there: null, and why
    percents = [update.percent for update in updates]
    assert percents == sorted(percents)
    assert [update.n for update in updates] == list(range(1, len(updates) + 1))


def test_the_same_job_again_goes_to_the_same_place(run):
    first, second = run(GOOD, "again"), run({**GOOD, "presign": False}, "again")
    assert first["minio_key"] == second["minio_key"] == "avatar/again.mp4"
    assert "presigned_url" not in second


def test_a_silent_video_another_rate_and_a_range(run, media):
    answer = run({**GOOD, "driving_video_path": "in/silent.mp4", "start_time": 0.2, "end_time": 1.0, "fps": 24})
    assert answer["success"], answer
    assert answer["num_frames"] == round(0.8 * 24)


def test_animate_mode_runs(run):
    assert run({**GOOD, "mode": "animate"})["success"]


def test_a_job_id_that_is_no_file_name_is_made_one(run):
    assert run(GOOD, "../../etc/passwd")["minio_key"] == "avatar/_.._etc_passwd.mp4"


BAD = [
    ("both pictures", {"input_image_url": "http://x/a.png"}, "conflicting_fields", "input_image_url"),
    ("no picture", {"input_image_minio_path": None}, "missing_field", "input_image_minio_path"),
    ("no such key", {"driving_video_path": "in/absent.mp4"}, "object_not_found", "driving_video_path"),
    ("text file", {"driving_video_path": "in/text.mp4"}, "not_a_video", "driving_video_path"),
    ("web page", {"driving_video_path": "in/page.mp4"}, "not_a_video", "driving_video_path"),
    ("picture as video", {"driving_video_path": "in/person.png"}, "not_a_video", "driving_video_path"),
    ("video as picture", {"input_image_minio_path": "in/driving.mp4"}, "not_an_image", "input_image_minio_path"),
    ("truncated", {"driving_video_path": "in/truncated.mp4"}, "video_unreadable", "driving_video_path"),
    ("one frame", {"driving_video_path": "in/one_frame.mp4"}, "video_too_short", "driving_video_path"),
    ("tiny picture", {"input_image_minio_path": "in/tiny.png"}, "picture_too_small", "input_image_minio_path"),
    ("end before start", {"start_time": 1.0, "end_time": 0.5}, "invalid_range", "end_time"),
    ("start outside", {"start_time": 60}, "range_outside_video", "start_time"),
    ("end outside", {"end_time": 60}, "range_outside_video", "end_time"),
    ("key leaves", {"driving_video_path": "../other/d.mp4"}, "key_outside_prefix", "driving_video_path"),
    ("loopback", {"input_image_minio_path": "-", "input_image_url": "http://127.0.0.1/a"}, "address_refused", None),
    ("metadata", {"driving_video_path": "-", "driving_video_url": "http://169.254.169.254/d"}, "address_refused", None),
    ("file url", {"driving_video_path": "-", "driving_video_url": "file:///etc/passwd"}, "address_refused", None),
    ("id with slash", {"user_id": "a/b"}, "invalid_id", "user_id"),
    ("id of dots", {"avatar_id": ".."}, "invalid_id", "avatar_id"),
    ("unknown field", {"widht": 64}, "unknown_field", "widht"),
    ("unknown operation", {"operation": "dance"}, "unknown_operation", "operation"),
]


@pytest.mark.parametrize(("what", "changes", "code", "field"), BAD, ids=[row[0] for row in BAD])
def test_bad_input_is_refused_before_the_graph_runs(run, worker, what, changes, code, field):
    job_input = {name: value for name, value in {**GOOD, **changes}.items() if value not in ("-", None)}
    answer = run(job_input)
    assert answer["success"] is False
    assert answer["error"]["code"] == code, answer["error"]
    if field:
        assert answer["error"]["field"] == field
    assert answer["error"]["field"]
    assert answer["error"]["hint"]
    assert "generate" not in answer["timings"]


@pytest.mark.parametrize("job_input", [None, [], "text"])
def test_an_input_that_is_no_object(run, job_input):
    assert run(job_input)["error"]["code"] == "missing_field"


FAULTS = [
    ("node_error=boom", "node_failed", None),
    ("motion_error=no_person", "no_person", "driving_video_path"),
    ("motion_error=empty_mask", "empty_mask", "driving_video_path"),
    ("out_of_memory", "out_of_memory", None),
    ("no_output", "no_output", None),
    ("missing_file", "no_output", None),
    ("reject", "graph_rejected", None),
]


@pytest.mark.parametrize(("kind", "code", "field"), FAULTS, ids=[row[0] for row in FAULTS])
def test_what_goes_wrong_in_comfyui_has_a_code(run, worker, kind, code, field):
    fault(worker, kind)
    error = run(GOOD)["error"]
    assert (error["code"], error["field"]) == (code, field), error
    assert run(GOOD)["success"]


def test_a_lost_socket_loses_nothing(run, worker):
    fault(worker, "drop_socket")
    assert run(GOOD)["success"]


def test_a_crash_fails_the_job_with_the_last_log_lines_and_the_next_one_works(run, worker):
    fault(worker, "crash")
    error = run(GOOD)["error"]
    assert error["code"] == "engine_crashed"
    assert "was told to crash" in error["message"]
    assert run(GOOD)["success"]


def test_a_kill_in_mid_job_too(run, worker, loop):
    fault(worker, "slow=0.2")
    killed = []

    def kill(update):
        if not killed and update.percent > 5:
            killed.append(os.kill(worker.engine._process.pid, signal.SIGKILL))

    assert run(GOOD, send=kill)["error"]["code"] == "engine_crashed"
    assert killed
    assert run(GOOD)["success"]


def test_cancel_stops_the_prompt_and_leaves_nothing(run, worker, loop):
    fault(worker, "slow=0.5")

    async def cancelled_in_the_middle():
        started = asyncio.Event()
        job = run_job({"id": "c", "input": GOOD}, worker, lambda update: update.percent > 2 and started.set())
        task = asyncio.ensure_future(job)
        await asyncio.wait_for(started.wait(), 20)
        asked = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - asked

    assert loop.wait(cancelled_in_the_middle()) < 3
    assert left_behind(worker) == []
    queue = json.load(urllib.request.urlopen(f"{worker.engine.base_url}/queue", timeout=5))
    assert queue == {"queue_running": [], "queue_pending": []}
    assert run(GOOD)["success"]


@contextmanager
def deadline(worker, seconds):
    usual = worker.settings
    worker.settings = usual.model_copy(update={"job_timeout_s": seconds})
    try:
        yield
    finally:
        worker.settings = usual


def test_one_deadline_stands_over_the_whole_job(run, worker):
    fault(worker, "slow=5")
    with deadline(worker, 2.0):
        began = time.monotonic()
        error = run(GOOD)["error"]
    assert error["code"] == "deadline_exceeded"
    assert "node" in error["message"]
    assert time.monotonic() - began < 6
    assert run(GOOD)["success"]


def test_a_wrong_video_is_not_announced(run, worker, s3, monkeypatch):  # noqa: F811
    def shorter(path, card):
        write_test_card(path, Card(card.width, card.height, card.fps, card.num_frames - 1, card.sound))

    operation = worker.operations["avatar"]
    longer = type(operation).expected

    def one_more(self, request, infos):
        found = longer(self, request, infos)
        return type(found)(**{**vars(found), "num_frames": found.num_frames + 1})

    monkeypatch.setattr(type(operation), "expected", one_more)
    error = run(GOOD, "wrong")["error"]
    assert error["code"] == "output_wrong"
    assert "frames: 18, wanted 19" in error["message"]
    assert [o.object_name for o in s3.client().list_objects(BUCKET, "avatar/wrong")] == []


def test_secrets_are_in_no_answer(run, worker, s3, caplog):  # noqa: F811
    fault(worker, f"node_error=key {s3.secret_key} and https://x/y?X-Amz-Signature=abcdef0123&a=1 and http://u:pw@h/")
    text = json.dumps(run(GOOD)) + caplog.text
    for secret in (s3.secret_key, "abcdef0123", "u:pw"):
        assert secret not in text
    assert "X-Amz-Signature=***&a=1" in text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"minio_bucket": "nobucket"}, "bucket_not_found"),
        ({"minio_secret_key": "wrong-secret-key"}, "store_denied"),
        ({"minio_endpoint": "", "minio_bucket": ""}, "no_store"),
    ],
)
def test_a_store_that_is_wrong(loop, worker, s3, tmp_path, changes, code):  # noqa: F811
    other = make_worker(s3, tmp_path, **changes)
    other.engine = worker.engine
    answer = loop.wait(run_job({"id": "x", "input": GOOD}, other))
    assert answer["error"]["code"] == code, answer["error"]
    assert left_behind(worker) == []


def test_the_test_media_are_what_their_names_say(media):
    with av.open(str(media["driving.mp4"])) as container:
        assert len(container.streams.audio) == 1
