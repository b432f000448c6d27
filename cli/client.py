"""Run a job on a RunPod endpoint and follow it, through the SDK's own client.

One way for the local queue and a deployed endpoint: only the base URL and the key differ. Failures of every
kind become `RunFailed` with a sentence for a person.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import requests
import runpod
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from cli.outcome import Finished, RunFailed, error_of

FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})
PLATFORM_URL = "https://api.runpod.ai/v2"


class EndpointClient:
    """One endpoint. `url`: the API's base, up to and including `/v2`; `key`: any text for the local queue."""

    def __init__(self, endpoint: str = "local", url: str = PLATFORM_URL, key: str = "local", poll_s: float = 0.5):
        self.name, self.url, self.poll_s = endpoint, url.rstrip("/"), poll_s
        runpod.endpoint_url_base = self.url  # the SDK reads it when the client is made, and has no argument for it
        self._endpoint = runpod.Endpoint(endpoint, api_key=key)
        # The SDK retries http:// only, for half a minute. Here: https (the platform) patiently, http (the local
        # queue) hardly; questions are asked again after a 5xx, a job is never submitted twice.
        session = self._endpoint.rp_client.rp_session
        for scheme, connect in (("https://", 5), ("http://", 1)):
            session.mount(scheme, HTTPAdapter(max_retries=_retries(connect)))

    def submit(self, job_input: dict[str, Any]) -> str:
        """POST /run; the job's id."""
        return _asked(lambda: self._endpoint.run({"input": job_input}).job_id, self)

    def status(self, job_id: str) -> dict[str, Any]:
        """GET /status: the whole answer, with `output`, `error` and times."""
        return _asked(lambda: self._endpoint.rp_client.get(f"{self.name}/status/{job_id}"), self)

    def cancel(self, job_id: str) -> dict[str, Any]:
        """POST /cancel."""
        return _asked(lambda: self._endpoint.rp_client.post(f"{self.name}/cancel/{job_id}", data={}), self)

    def health(self) -> dict[str, Any]:
        """GET /health."""
        return _asked(self._endpoint.health, self)

    def run(
        self,
        job_input: dict[str, Any],
        timeout: float = 1800.0,
        on_news: Callable[[dict[str, Any]], None] = lambda status: None,
    ) -> Finished:
        """Submit, follow to the end, and give back the result. `on_news` gets each /status answer.

        Raises RunFailed for anything but COMPLETED with an output. After `timeout` seconds the job is cancelled,
        so that nothing goes on being billed; the same for Ctrl-C.
        """
        with _ctrl_c_held_back() as interrupted:
            job_id = self.submit(job_input)
        try:
            if interrupted:
                raise KeyboardInterrupt
            status, progress = self.follow(job_id, timeout, on_news)
        except BaseException:
            self._give_up(job_id)
            raise
        return _finished(status, progress)

    def finished(self, job_id: str) -> Finished:
        """The result of a job that has ended already. Raises RunFailed for anything but COMPLETED with an output."""
        status = self.status(job_id)
        if status["status"] not in FINAL:
            raise RunFailed(f"Job {job_id} is {status['status']}: it has not ended yet.", status=status)
        return replace(_finished(status, []), followed=False)

    def follow(
        self, job_id: str, timeout: float, on_news: Callable[[dict[str, Any]], None] = lambda status: None
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Poll until the end: the last /status answer and every progress update, in order and without repeats."""
        end, progress = time.monotonic() + timeout, []
        while True:
            status = self.status(job_id)
            report = status.get("output")
            if status["status"] == "IN_PROGRESS" and isinstance(report, dict) and "n" in report:
                # The SDK sends each update from a thread of its own: an older one may arrive after a newer one.
                if not progress or report["n"] > progress[-1]["n"]:
                    progress.append(report)
                elif report["n"] < progress[-1]["n"]:
                    status["output"] = progress[-1]
            on_news(status)
            if status["status"] in FINAL:
                return status, progress
            if time.monotonic() > end:
                raise RunFailed(f"Job {job_id} was still {status['status']} after {timeout:.0f} s.", status=status)
            time.sleep(self.poll_s)

    def _give_up(self, job_id: str) -> None:
        try:
            self.cancel(job_id)
        except RunFailed as error:
            print(f"The job could not be cancelled either: {error}", file=sys.stderr)


def client_of(url: str | None, endpoint: str | None) -> EndpointClient:
    """The client of a local queue (url) or a deployed endpoint (its id). Raises RunFailed where none can be asked."""
    key = os.environ.get("RUNPOD_API_KEY")
    if url:
        return EndpointClient(endpoint or "local", url, key or "local")
    if not endpoint:
        raise RunFailed("Say where to send the job: --url of a local queue, or --endpoint of a deployed one.")
    if not key:
        raise RunFailed("RUNPOD_API_KEY is not set; a deployed endpoint answers nobody without a key.")
    return EndpointClient(endpoint, PLATFORM_URL, key, poll_s=2.0)


@contextlib.contextmanager
def _ctrl_c_held_back() -> Iterator[list[int]]:
    """Ctrl-C is only noted while this is open: a job that was accepted is cancelled by nobody who lacks its id."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # where no signal comes, none can be held
        yield noted
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _retries(connect: int) -> Retry:
    codes = (408, 429, 500, 502, 503, 504)
    return Retry(5, connect=connect, backoff_factor=0.5, status_forcelist=codes, allowed_methods={"GET"})


def _finished(status: dict[str, Any], progress: list[dict[str, Any]]) -> Finished:
    output = status.get("output")
    if status["status"] != "COMPLETED":
        error = error_of(status)
        raise RunFailed(f"Job {status['id']} ended as {status['status']}: {error['message']}", error, status)
    if not isinstance(output, dict) or not output.get("success"):
        raise RunFailed(f"Job {status['id']} is COMPLETED, but its output is no success: {output}", status=status)
    return Finished(status["id"], output, status.get("delayTime", 0), status.get("executionTime", 0), progress)


def _asked(call: Callable[[], Any], client: EndpointClient) -> Any:
    """Run one request; every way it can fail, in words."""
    try:
        return call()
    except requests.HTTPError as error:
        answer = error.response
        code, said = (0, str(error)) if answer is None else (answer.status_code, answer.text.strip()[:300])
        if code == 404:
            raise RunFailed(f"{client.url} knows no such endpoint ({client.name!r}) or job: {said}") from error
        raise RunFailed(f"The endpoint answered HTTP {code}: {said}") from error
    except requests.RequestException as error:
        raise RunFailed(f"No connection to {client.url}: {error.__class__.__name__}. Is it running?") from error
    except RuntimeError as error:  # the SDK's own way of saying 401
        raise RunFailed(f"The endpoint refused the key (HTTP 401). Check RUNPOD_API_KEY. ({error})") from error
