"""worker/jobs.py when something goes wrong under way: a node, ComfyUI, the clock, the result, the store."""

import asyncio
import json
import os
import signal
import time
import urllib.request
from contextlib import contextmanager

import pytest

from demo.standin.testcard import Card, write_test_card
from worker.jobs import run_job

from .standin_jobs import GOOD, fault, left_behind, make_worker

pytestmark = pytest.mark.store


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


def test_a_wrong_video_is_not_announced(run, worker, s3, bucket, monkeypatch):
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
    assert [o.object_name for o in s3.client().list_objects(bucket, "avatar/wrong")] == []


def test_secrets_are_in_no_answer(run, worker, s3, caplog):
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
def test_a_store_that_is_wrong(loop, worker, s3, bucket, tmp_path, changes, code):
    other = make_worker(s3, bucket, tmp_path, **changes)
    other.engine = worker.engine
    answer = loop.wait(run_job({"id": "x", "input": GOOD}, other))
    assert answer["error"]["code"] == code, answer["error"]
    assert left_behind(worker) == []
