"""The keys of a request's `r2`: nowhere in answers, errors, progress, logs, prints, nor in what ComfyUI keeps.

A check of the checks: the same words are found where nothing takes them out (see `Ears`).
"""

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from cli.client import EndpointClient
from cli.outcome import RunFailed
from demo.queue_server import QueueServer
from worker.events import Text
from worker.jobs import JobRun
from worker.redact import RedactedOutput, RedactingFilter, Redactor, secrets_of

from .standin_jobs import fault

pytestmark = pytest.mark.store

ROOT = Path(__file__).parents[2]
CLIP = {"operation": "clip", "image_minio_path": "in/person.png"}
WRONG_KEY, WRONG_SECRET = "AKIA-not-an-id-0123", "wrong/secret+4567/hush"


@pytest.fixture
def r2(s3, bucket):
    return {
        "endpoint_url": f"http://{s3.endpoint}",
        "access_key_id": s3.access_key,
        "secret_access_key": s3.secret_key,
        "bucket_name": bucket,
    }


class Ears:
    """Everything that anybody logs, at DEBUG: as it was said (`raw`), and as it leaves a handler of the worker's."""

    def __init__(self, redact):
        self.raw, self.out = io.StringIO(), io.StringIO()
        self._handlers = [logging.StreamHandler(self.raw), logging.StreamHandler(self.out)]
        self._handlers[1].addFilter(RedactingFilter(redact))

    def __enter__(self):
        # Each by itself: the runpod SDK sets urllib3's to WARNING.
        loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
        self._levels = [(logger, logger.level) for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.DEBUG)
        for handler in self._handlers:
            logging.getLogger().addHandler(handler)
        return self

    def __exit__(self, *_):
        for handler in self._handlers:
            logging.getLogger().removeHandler(handler)
        for logger, level in self._levels:
            logger.setLevel(level)


def history(worker):
    with urllib.request.urlopen(f"{worker.engine.base_url}/history", timeout=5) as response:
        return response.read().decode()


def test_the_keys_of_a_good_job_are_nowhere(run, worker, s3, r2):
    worker.redact = Redactor()  # the store of the tests has one pair of keys: the worker must not know them by itself
    updates = []
    with Ears(worker.redact) as ears:
        answer = run({**CLIP, "r2": r2}, "good", updates.append)
    assert answer["success"], answer
    assert "PUT /" in ears.raw.getvalue(), "the store's client was heard"
    told = json.dumps(answer) + str(updates) + ears.out.getvalue() + ears.raw.getvalue() + history(worker)
    assert s3.secret_key not in told
    # A presigned URL names who signed it; nothing else does.
    without_urls = {name: value for name, value in answer.items() if not name.endswith("_url")}
    assert s3.access_key not in json.dumps(without_urls) + str(updates) + ears.out.getvalue() + history(worker)


WRONG = [
    ({"secret_access_key": WRONG_SECRET}, "store_denied", "r2.secret_access_key"),
    ({"access_key_id": WRONG_KEY, "secret_access_key": WRONG_SECRET}, "store_denied", "r2.secret_access_key"),
    ({"secret_access_key": WRONG_SECRET, "bucket_name": ["x"]}, "invalid_value", "r2.bucket_name"),
    ({"access_key_id": {"id": WRONG_KEY}, "secret_access_key": WRONG_SECRET}, "invalid_value", "r2.access_key_id"),
    ({"access_key_id": WRONG_KEY, "secret_key": WRONG_SECRET}, "unknown_field", "r2.secret_key"),
    ({"endpoint_url": f"https://{WRONG_KEY}:{WRONG_SECRET}@h/"}, "address_refused", "r2.endpoint_url"),
]


@pytest.mark.parametrize(("change", "code", "field"), WRONG, ids=[f"{f}-{c}" for _, c, f in WRONG])
def test_wrong_keys_are_in_no_refusal(run, worker, r2, change, code, field):
    with Ears(worker.redact) as ears:
        answer = run({**CLIP, "r2": {**r2, **change}}, "wrong")
    assert (answer["error"]["code"], answer["error"]["field"]) == (code, field), answer["error"]
    assert not [name for name in ("MINIO", "AWS_") if name in answer["error"]["hint"]]
    for text in (json.dumps(answer), ears.out.getvalue(), ears.raw.getvalue()):
        for secret in (WRONG_KEY, WRONG_SECRET, "hush"):
            assert secret not in text


@pytest.mark.parametrize("r2", [json.dumps({"secret_access_key": WRONG_SECRET}), [WRONG_SECRET], 5, {}])
def test_an_r2_of_another_shape_is_not_repeated(run, worker, r2):
    with Ears(worker.redact) as ears:
        answer = run({**CLIP, "r2": r2}, "shape")
    assert answer["error"]["field"].startswith("r2")
    assert WRONG_SECRET not in json.dumps(answer) + ears.raw.getvalue()


def test_what_comfyui_says_of_them_is_taken_out_for_this_job_alone(run, worker, r2):
    said = f"the key {WRONG_SECRET} of {WRONG_KEY}"
    change = {"access_key_id": WRONG_KEY, "secret_access_key": WRONG_SECRET}
    with worker.redact.hiding(secrets_of({"r2": change})), Ears(worker.redact) as ears:
        fault(worker, f"node_error={said}")
        answer = run(CLIP, "said")
    assert "the key *** of ***" in answer["error"]["message"]
    assert "the key *** of ***" in ears.out.getvalue()
    assert WRONG_SECRET not in json.dumps(answer) + ears.out.getvalue()
    fault(worker, f"node_error={said}")
    with Ears(worker.redact) as ears:
        answer = run(CLIP, "after")
    assert said in answer["error"]["message"], "without them the test above would have found nothing to take out"
    assert said in ears.raw.getvalue()


def test_run_job_itself_hides_them_and_forgets_them(run, worker, r2):
    fault(worker, f"node_error=it says {r2['secret_access_key']}")
    worker.redact = Redactor()
    updates = []
    with Ears(worker.redact) as ears:
        answer = run({**CLIP, "r2": r2}, "own", updates.append)
    assert "it says ***" in answer["error"]["message"]
    assert r2["secret_access_key"] not in json.dumps(answer) + ears.out.getvalue() + str(updates)
    assert worker.redact.text(r2["secret_access_key"]) == r2["secret_access_key"]


def test_what_a_node_says_while_it_runs_is_taken_out_too(loop, worker):
    updates = []
    job = JobRun({"id": "text", "input": {}}, worker, updates.append)

    async def hear():
        async with job.track.sending():
            job.track.hear(Text("1", f"writes with {WRONG_SECRET}"), str)
            while not updates:
                await asyncio.sleep(0.05)

    with worker.redact.hiding([WRONG_SECRET]):
        loop.wait(asyncio.wait_for(hear(), 10))
    assert "writes with ***" in updates[-1].message


def test_two_jobs_with_the_same_key_hide_it_until_both_are_over():
    redact = Redactor(["for-good"])
    with redact.hiding(["hush-hush", "for-good"]):
        with redact.hiding(["hush-hush"]):
            assert redact.text("a hush-hush b") == "a *** b"
        assert redact.text("a hush-hush b") == "a *** b"
    assert redact.text("a hush-hush b, for-good") == "a hush-hush b, ***"


def test_what_is_printed_is_redacted_too():
    output = io.StringIO()
    print(
        "Handler output: https://h/a?X-Amz-Signature=00ff&b=1 hush-hush",
        file=RedactedOutput(output, Redactor(["hush-hush"])),
    )
    assert output.getvalue() == "Handler output: https://h/a?X-Amz-Signature=***&b=1 ***\n"


def test_the_sdks_own_prints_at_its_loudest_show_none(s3, bucket, r2, media, tmp_path):
    """handler.py's loop as in production, RUNPOD_LOG_LEVEL=DEBUG: the SDK prints whole answers and updates."""
    for key in ("person.png", "driving.mp4"):
        s3.client().fput_object(bucket, f"in/{key}", str(media[key]))
    with QueueServer() as queue, (tmp_path / "printed.txt").open("w+") as printed:
        environment = os.environ | queue.worker_env() | s3.environment(bucket)
        environment |= {"WORK_PATH": str(tmp_path / "work"), "RUNPOD_LOG_LEVEL": "DEBUG"}
        environment |= {"ALLOW_PRIVATE_ADDRESSES": s3.endpoint}
        command = [sys.executable, "-m", "demo.worker", "--standin"]
        worker = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=printed, stderr=printed)
        try:
            client = EndpointClient(queue.endpoint, queue.url, poll_s=0.1)
            avatar = {"input_image_minio_path": "in/person.png", "driving_video_path": "in/driving.mp4"}
            link = client.run({**avatar, "width": 128, "height": 96, "fps": 12}, timeout=90).output["presigned_url"]
            wrong = {**r2, "secret_access_key": WRONG_SECRET}
            with pytest.raises(RunFailed) as refused:
                client.run({"operation": "i2v", "image_url": "https://h/a.png", "prompt": "p", "r2": wrong}, timeout=60)
            assert refused.value.error["code"] == "store_denied"
        finally:
            worker.terminate()
            worker.wait(20)
        printed.seek(0)
        text = printed.read()
    assert "run_job return" in text, "the SDK was loud"
    for secret in (s3.secret_key, s3.access_key, WRONG_SECRET, link.split("X-Amz-Signature=")[1][:64]):
        assert secret not in text
