"""The local queue against both of its sides: the SDK's client, and the SDK's own worker loop in a process."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import requests

from cli.client import EndpointClient
from cli.outcome import RunFailed, error_of
from demo.queue_jobs import Jobs
from demo.queue_server import QueueServer

HANDLER = """
    import asyncio, os, pathlib, runpod
    async def handler(job):
        what = job["input"]
        if what.get("sleep"):
            try:
                for n in range(1, 200):
                    runpod.serverless.progress_update(job, {"n": n, "percent": n})
                    await asyncio.sleep(what["sleep"])
            except asyncio.CancelledError:
                pathlib.Path(what["told"]).write_text("cancelled")
                raise
        if what.get("raise"):
            raise ValueError("broken on purpose")
        if what.get("error"):
            return {"error": what["error"], "success": False, "detail": 1}
        return {"success": True, "echo": what}
    runpod.serverless.start({"handler": handler})
"""


@pytest.fixture(scope="module")
def queue():
    with QueueServer() as server:
        yield server


@pytest.fixture(scope="module")
def worker(queue, tmp_path_factory):
    folder = tmp_path_factory.mktemp("worker")
    (folder / "h.py").write_text(textwrap.dedent(HANDLER))
    env = os.environ | queue.worker_env() | {"RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", "RUNPOD_LOG_LEVEL": "WARN"}
    process = subprocess.Popen([sys.executable, str(folder / "h.py")], env=env, start_new_session=True)
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def client(queue):
    return EndpointClient(queue.endpoint, queue.url, poll_s=0.05)


def test_a_job_goes_through_the_sdk_loop_and_back(client, worker):
    done = client.run({"text": "hello"}, timeout=30)
    assert done.output == {"success": True, "echo": {"text": "hello"}}
    assert done.job_id.endswith("-u1")
    assert client.health()["workers"] == {"idle": 1, "running": 0}


def test_a_text_error_is_failed_and_keeps_its_output(client, worker):
    with pytest.raises(RunFailed, match="no person") as caught:
        client.run({"error": '{"code": "no_person", "message": "no person"}'}, timeout=30)
    assert caught.value.error["code"] == "no_person"
    assert caught.value.status["output"] == {"success": False, "detail": 1}


def test_a_dict_error_is_lost_as_on_the_platform(client, worker):
    with pytest.raises(RunFailed, match="COMPLETED, but its output is no success: None"):
        client.run({"error": {"code": "no_person"}}, timeout=30)


def test_an_exception_is_failed_with_the_sdks_text(client, worker):
    with pytest.raises(RunFailed, match="broken on purpose"):
        client.run({"raise": True}, timeout=30)


def test_progress_then_cancel_stops_the_handler_and_frees_the_worker(client, worker, tmp_path):
    job = client.submit({"sleep": 0.05, "told": str(tmp_path / "told")})
    seen = 0
    for _ in range(200):
        status = client.status(job)
        seen = max(seen, (status.get("output") or {}).get("n", 0))
        if seen >= 3:
            break
        time.sleep(0.05)
    assert seen >= 3
    asked = time.monotonic()
    assert client.cancel(job)["status"] == "CANCELLED"
    while not (tmp_path / "told").exists() and time.monotonic() - asked < 5:
        time.sleep(0.02)
    assert (tmp_path / "told").read_text() == "cancelled"
    assert client.run({"text": "next"}, timeout=30).output["success"]
    assert client.status(job)["status"] == "CANCELLED"
    assert "output" not in client.status(job)


def test_runsync_waits_for_the_answer(queue, client, worker):
    answer = requests.post(
        f"{queue.url}/local/runsync", json={"input": {"a": 1}}, headers={"Authorization": "key"}, timeout=30
    ).json()
    assert answer["id"].startswith("sync-")
    assert answer["output"]["echo"] == {"a": 1}
    assert answer["executionTime"] >= 0


def test_no_key_a_wrong_endpoint_and_no_server_are_told_apart(queue):
    assert requests.get(f"{queue.url}/local/health", timeout=5).status_code == 401
    assert requests.get(f"{queue.url}/local/health", headers={"Authorization": "Bearer "}, timeout=5).status_code == 401
    with pytest.raises(RunFailed, match="knows no such endpoint"):
        EndpointClient("elsewhere", queue.url).health()
    with pytest.raises(RunFailed, match="Is it running"):
        EndpointClient("local", "http://127.0.0.1:9/v2").health()


@pytest.mark.parametrize(("path", "limit"), [("run", 10), ("runsync", 20)])
def test_a_payload_over_the_limit_is_refused_in_the_platforms_words(queue, path, limit):
    body = b'{"input": "' + b"x" * (limit * 2**20) + b'"}'
    answer = requests.post(f"{queue.url}/local/{path}", data=body, headers={"Authorization": "k"}, timeout=30)
    assert answer.status_code == 400
    assert f"exceeded max body size of {limit}MiB" in answer.json()["error"]


def test_a_body_without_input_is_refused(queue):
    for body in (b"{", b"[]", b"{}"):
        answer = requests.post(f"{queue.url}/local/run", data=body, headers={"Authorization": "k"}, timeout=5)
        assert answer.status_code == 400


# --- the states, on a clock of our own -------------------------------------------------------------------------


def test_delay_and_execution_time_are_milliseconds():
    jobs = Jobs()
    job = jobs.submit({"input": {}}, "run", now=10.0)
    assert jobs.take("w", now=12.5) is job
    jobs.finish(job.id, {"output": {"success": True}}, now=16.0)
    assert job.view() | {"id": 0} == {
        "id": 0,
        "status": "COMPLETED",
        "delayTime": 2500,
        "executionTime": 3500,
        "workerId": "w",
        "output": {"success": True},
    }


def test_late_progress_does_not_reopen_a_finished_job():
    jobs = Jobs()
    job = jobs.submit({"input": {}}, "run", 0.0)
    jobs.take("w", 0.0)
    jobs.finish(job.id, {"output": {"success": True}}, 1.0)
    assert not jobs.finish(job.id, {"status": "IN_PROGRESS", "output": {"n": 9}}, 1.1)
    assert job.output == {"success": True}


def test_timeouts_stop_the_worker_and_waiting_jobs_expire():
    jobs = Jobs(execution_timeout=100)
    running = jobs.submit({"input": {}}, "run", 0.0)
    waiting = jobs.submit({"input": {}, "policy": {"ttl": 10_000}}, "run", 0.0)
    jobs.take("w", 0.0)
    jobs.sweep(101.0)
    assert (running.status, waiting.status) == ("TIMED_OUT", "TIMED_OUT")
    assert jobs.stops_for("w") == [running.id]
    assert jobs.stops_for("w") == []
    assert jobs.take("w", 101.0) is None
    assert error_of(running.view())["message"] == "job timed out"


def test_cancel_and_purge_take_waiting_jobs_out_of_the_queue():
    jobs = Jobs()
    first, second, third = (jobs.submit({"input": {}}, "run", 0.0) for _ in range(3))
    jobs.take("w", 0.0)
    assert jobs.cancel(second.id, 1.0).status == "CANCELLED"
    assert jobs.purge() == 1
    assert jobs.get(third.id) is None
    assert jobs.take("w", 1.0) is None
    assert jobs.stops_for("w") == []
    assert first.status == "IN_PROGRESS"


def test_results_are_forgotten_after_their_time():
    jobs = Jobs()
    job = jobs.submit({"input": {}}, "runsync", 0.0)
    jobs.take("w", 0.0)
    jobs.finish(job.id, {"output": 1}, 1.0)
    jobs.sweep(60.0)
    assert jobs.get(job.id)
    jobs.sweep(62.0)
    assert jobs.get(job.id) is None
