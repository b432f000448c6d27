"""Where a job runs: an endpoint (RunPod's or a local queue's), or this process with a ComfyUI of its own."""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cli.inputs import MAX_PAYLOAD_BYTES
from cli.loopback import Loopback
from cli.outcome import Finished, RunFailed
from worker.host import Worker
from worker.jobs import run_job
from worker.progress import Update
from worker.redact import RedactingFilter
from worker.settings import Settings

if TYPE_CHECKING:
    from cli.client import EndpointClient

OnNews = Callable[[dict[str, Any]], None]
"""Gets /status answers, or the like of them."""


class Place(Protocol):
    """Runs one job to its end."""

    settings: Settings | None
    """The worker's, where they are known here."""
    most_bytes: int
    """Of a file that is sent in the request."""
    is_remote: bool

    def run(self, job_input: dict[str, Any], on_news: OnNews, served: Mapping[str, Path] | None = None) -> Finished:
        """The job's result. Raises RunFailed where it has none; JobError where nothing could be asked.

        served: {field that takes a URL: file of this machine}, for a worker of this process alone. Ctrl-C cancels
        the job before it goes on to the caller.
        """
        ...


def place_of(url: str | None, endpoint: str | None, timeout: float | None) -> Place:
    """Where the flags --url and --endpoint say; with neither, here. Raises RunFailed, SettingsError."""
    if url or endpoint:
        from cli.client import client_of  # the SDK's import takes over a second, and only this place needs it

        return Remote(client_of(url, endpoint), timeout)
    return ThisProcess(Settings.from_env(), timeout)


class Remote:
    """A worker behind a queue."""

    settings: Settings | None = None
    most_bytes = MAX_PAYLOAD_BYTES * 3 // 4  # base64 makes four characters of three bytes
    is_remote = True

    def __init__(self, client: "EndpointClient", timeout: float | None = None):
        self._client, self._limits = client, {} if timeout is None else {"timeout": timeout}

    def run(self, job_input: dict[str, Any], on_news: OnNews, served: Mapping[str, Path] | None = None) -> Finished:
        """See Place."""
        assert not served, "no worker elsewhere can read a file of this machine"
        return self._client.run(job_input, on_news=on_news, **self._limits)


class ThisProcess:
    """A worker of one job. `make_worker`: another one than ComfyUI as it is found (the stand-in)."""

    settings: Settings | None
    is_remote = False

    def __init__(
        self, settings: Settings, timeout: float | None = None, make_worker: Callable[[Settings], Worker] | None = None
    ):
        own = settings if timeout is None else settings.model_copy(update={"job_timeout_s": timeout})
        self.settings = self._settings = own
        self.most_bytes = max(settings.max_image_bytes, settings.max_audio_bytes)
        self._make_worker = make_worker or Worker

    def run(self, job_input: dict[str, Any], on_news: OnNews, served: Mapping[str, Path] | None = None) -> Finished:
        """See Place. ComfyUI is started for the job and ended after it, whatever became of the job."""
        job_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        # asyncio.run turns Ctrl-C into a cancellation of the job, and waits until that is done.
        answer, progress = asyncio.run(self._with_files(job_id, job_input, on_news, served or {}))
        if error := answer.get("error"):
            raise RunFailed(f"The job failed: {error['message']}", error, {"status": "FAILED", "output": answer})
        return Finished(job_id, answer, 0, round(answer["timings"]["total"] * 1000), progress)

    async def _with_files(
        self, job_id: str, job_input: dict[str, Any], on_news: OnNews, served: Mapping[str, Path]
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The story; while it lasts, its worker may fetch the served files, and nothing else of this machine."""
        if not served:
            return await self._story({"id": job_id, "input": job_input}, self._settings, on_news)
        async with Loopback() as loopback:
            urls = {field: loopback.offer(path) for field, path in served.items()}
            exempt = [*self._settings.allow_private_addresses, loopback.address]
            settings = self._settings.model_copy(update={"allow_private_addresses": exempt})
            return await self._story({"id": job_id, "input": job_input | urls}, settings, on_news)

    async def _story(
        self, job: dict[str, Any], settings: Settings, on_news: OnNews
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        worker, progress = self._make_worker(settings), []
        hiding, outputs = RedactingFilter(worker.redact), list(logging.getLogger().handlers)
        for output in outputs:
            output.addFilter(hiding)

        def send(update: Update) -> None:
            progress.append(update.as_dict())
            on_news({"status": "IN_PROGRESS", "output": progress[-1]})

        try:
            on_news({"status": "Starting ComfyUI"})
            await worker.start()
            answer = await run_job(job, worker, send, max_answer_bytes=None)
            on_news({"status": "FAILED" if "error" in answer else "COMPLETED"})
            return answer, progress
        finally:
            await worker.stop()
            for output in outputs:
                output.removeFilter(hiding)
