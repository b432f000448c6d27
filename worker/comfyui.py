"""The client of one ComfyUI: submit a graph, follow it to its end, cancel it.

Two rules, learnt from what other workers get wrong: the websocket is for news and `/api/jobs/{id}` for the
truth, and one deadline stands over everything. Times are seconds; a deadline is a point of time.monotonic().
Whoever stops listening (an error, a cancelled task, a `break`) thereby cancels the prompt in ComfyUI.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import aiohttp

from worker.comfy_errors import rejection
from worker.errors import JobError
from worker.events import Event, OutputFile
from worker.following import Following, is_running, result_of
from worker.news import CONNECT_SECONDS, NewsSocket

log = logging.getLogger(__name__)

Answer = tuple[int, Any]
"""HTTP status, and the body: what its JSON says, else its text."""


class ComfyClient:
    """Talks to the ComfyUI at `base_url`. `why_dead` (from the engine) tells that its process ended, and how."""

    POLL_SECONDS = 3.0
    """How often the truth is asked while the socket says nothing of an end."""
    ANSWER_SECONDS = 15.0
    """How long one answer may take; loading a model can keep ComfyUI from answering for seconds."""
    SUBMIT_SECONDS = 60.0
    UNREACHABLE_SECONDS = 120.0
    """Without any sign of life for this long, ComfyUI is given up before the deadline."""
    CANCEL_SECONDS = 20.0
    """How long to wait for a cancelled prompt to be gone: a node stops only between two of its steps."""
    LAST_WORD_SECONDS = 3.0
    """The same, where ComfyUI did not answer before."""

    def __init__(self, base_url: str, why_dead: Callable[[], JobError | None] = lambda: None):
        self.base_url = base_url.rstrip("/")
        self._why_dead = why_dead
        self._session: aiohttp.ClientSession | None = None
        self._sockets: dict[str, NewsSocket] = {}
        self._prompts: dict[str, Mapping[str, Any]] = {}
        self.stuck = False
        """A prompt could not be cancelled: only a restart of ComfyUI frees the GPU."""

    async def __aenter__(self) -> "ComfyClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection. A prompt that still runs goes on running."""
        for socket in self._sockets.values():
            await socket.close()
        self._sockets.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def submit(
        self, prompt: Mapping[str, Any], prompt_id: str, deadline: float | None = None, client_id: str | None = None
    ) -> None:
        """Put an API-format graph into the queue under our own id (a UUID in lower case with hyphens).

        Raises graph_rejected (which node, and why), engine_unreachable, engine_crashed. The socket is opened first,
        so that no news is lost; its client id is the prompt's own id, so that no other prompt's news comes in.
        """
        self._prompts[prompt_id] = prompt
        client_id = client_id or prompt_id
        socket = NewsSocket(self._open(), self.base_url, client_id, prompt_id)
        self._sockets[prompt_id] = socket
        try:
            await socket.connect(min(CONNECT_SECONDS, self._left(deadline) / 2))
            body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": client_id}
            status, answer = await self._post_prompt(body, deadline)
            error = rejection(status, answer, prompt)
        except BaseException:
            await self._forget(prompt_id)
            raise
        if error:
            await self._forget(prompt_id)
            if status == 200:  # taken in part only: a job that leaves something out is not the job
                await self.cancel(prompt_id, 5.0)
            raise error

    async def follow(self, prompt_id: str, deadline: float) -> AsyncGenerator[Event, None]:
        """What happens to the prompt, in order, until `Finished` with its output files.

        Raises JobError: the code a node gave, out_of_memory, node_failed, no_output, cancelled, engine_crashed,
        engine_unreachable, deadline_exceeded. Read it inside `contextlib.aclosing`, so that a reader who is
        cancelled between two events also cancels the prompt.
        """
        socket = self._sockets.pop(prompt_id, None) or NewsSocket(self._open(), self.base_url, prompt_id, prompt_id)
        state = Following(deadline, self.UNREACHABLE_SECONDS, self._prompts.get(prompt_id, {}))
        over = False
        try:
            while True:
                if dead := self._why_dead():
                    over = True
                    raise dead
                state.check()
                if state.look_due():
                    job = await self._look(prompt_id, state)
                    if job is not None and not is_running(job):
                        over = True
                        yield result_of(job)
                        return
                news = await socket.receive(state.patience())
                for event in state.hear(news):
                    yield event
        finally:
            await socket.close()
            self._prompts.pop(prompt_id, None)
            if not over:
                await self._cancel_for_good(prompt_id, self.CANCEL_SECONDS if state.answers else self.LAST_WORD_SECONDS)

    async def outputs(self, prompt_id: str) -> tuple[OutputFile, ...]:
        """The files of a prompt that is over. Raises what `follow` raises, and no_output while it is not over."""
        job = await self.job(prompt_id)
        if job is None or is_running(job):
            raise JobError("no_output", detail=f"The prompt is {job['status'] if job else 'unknown'}.")
        return result_of(job).outputs

    async def job(self, prompt_id: str) -> Mapping[str, Any] | None:
        """ComfyUI's record; `status` is pending, in_progress, completed, failed or cancelled. None: no such prompt."""
        status, body = await self._ask("GET", f"/api/jobs/{prompt_id}")
        if status == 404:
            return None
        if status != 200 or not isinstance(body, Mapping) or "status" not in body:
            raise JobError("engine_unreachable", detail=f"{self.base_url}/api/jobs answered HTTP {status}.")
        return body

    async def cancel(self, prompt_id: str, seconds: float | None = None) -> bool:
        """Stop the prompt and wait until it is gone. False: it was not gone after `seconds`; restart ComfyUI then."""
        try:
            async with asyncio.timeout(self.CANCEL_SECONDS if seconds is None else seconds):
                while not self._why_dead() and not await self._cancel_once(prompt_id):
                    pass
            return True
        except TimeoutError:
            return False

    async def object_info(self, class_type: str | None = None) -> dict[str, Any]:
        """The inputs and outputs of every node class, or of one; {} for a class that ComfyUI does not have."""
        return await self._get_object("/object_info" + (f"/{class_type}" if class_type else ""), 60.0)

    async def system_stats(self, seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """Versions, memory and devices."""
        return await self._get_object("/system_stats", seconds)

    async def free_memory(self) -> None:
        """Unload the models and forget cached results; happens once the queue is empty."""
        await self._ask("POST", "/free", {"unload_models": True, "free_memory": True})

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No total time limit here: each request has its own. No proxy either: this is this machine.
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), trust_env=False)
        return self._session

    def _left(self, deadline: float | None) -> float:
        """Seconds that submitting may take."""
        return self.SUBMIT_SECONDS if deadline is None else min(self.SUBMIT_SECONDS, deadline - time.monotonic())

    async def _get_object(self, path: str, seconds: float) -> dict[str, Any]:
        status, body = await self._ask("GET", path, seconds=seconds)
        if status != 200 or not isinstance(body, dict):
            raise JobError("engine_unreachable", detail=f"{self.base_url}{path} answered HTTP {status}.")
        return body

    async def _ask(self, method: str, path: str, json: Any = None, seconds: float | None = None) -> Answer:
        """One request. Raises engine_unreachable, or engine_crashed where the process is known to have ended."""
        seconds = self.ANSWER_SECONDS if seconds is None else seconds
        try:
            async with (
                asyncio.timeout(max(seconds, 0.001)),
                self._open().request(method, self.base_url + path, json=json) as response,
            ):
                try:
                    return response.status, await response.json(content_type=None)
                except ValueError:
                    return response.status, await response.text(errors="replace")
        except TimeoutError:
            what = f"{self.base_url}{path} did not answer within {seconds:.0f} s."
            raise self._why_dead() or JobError("engine_unreachable", detail=what) from None
        except (aiohttp.ClientError, OSError) as error:
            what = f"{self.base_url}{path}: {error or type(error).__name__}."
            raise self._why_dead() or JobError("engine_unreachable", detail=what) from error

    async def _post_prompt(self, body: dict[str, Any], deadline: float | None) -> Answer:
        """POST /prompt. Where no answer comes the prompt may still be queued, so that is asked (never sent twice)."""
        left = self._left(deadline)
        if left <= 0:
            raise JobError("deadline_exceeded", detail="Before the graph was submitted.")
        try:
            return await self._ask("POST", "/prompt", body, left)
        except asyncio.CancelledError:
            await self._cancel_for_good(body["prompt_id"])
            raise
        except JobError as error:
            with contextlib.suppress(JobError):
                if error.code == "engine_unreachable" and await self.job(body["prompt_id"]):
                    return 200, {}
            raise

    async def _look(self, prompt_id: str, state: "Following") -> Mapping[str, Any] | None:
        """The truth about the prompt; None where no answer came this time."""
        seconds = min(self.ANSWER_SECONDS, max(0.1, state.deadline - time.monotonic()))
        try:
            async with asyncio.timeout(seconds):
                job = await self.job(prompt_id)
        except (JobError, TimeoutError) as error:
            if isinstance(error, JobError) and error.code == "engine_crashed":
                raise
            state.looked(False, self.POLL_SECONDS)
            return None
        if job is None:
            detail = "It no longer knows the prompt: it was restarted, or its queue was emptied."
            raise self._why_dead() or JobError("engine_crashed", detail=detail)
        state.looked(True, self.POLL_SECONDS)
        return job

    async def _cancel_once(self, prompt_id: str) -> bool:
        """Ask for the end and look for a second whether it came. An interrupt just before a prompt starts is lost."""
        try:
            status, _ = await self._ask("POST", f"/api/jobs/{prompt_id}/cancel")
            if status >= 400:  # a ComfyUI without this call ($COMFYUI_PATH may name another version)
                await self._ask("POST", "/queue", {"delete": [prompt_id]})
                await self._ask("POST", "/interrupt", {"prompt_id": prompt_id})
            for _ in range(5):
                if not is_running(await self.job(prompt_id)):
                    return True
                await asyncio.sleep(0.2)
        except JobError as error:
            log.warning("cancelling prompt %s: %s", prompt_id, error)
            await asyncio.sleep(0.5)
        return False

    async def _cancel_for_good(self, prompt_id: str, seconds: float | None = None) -> None:
        """Cancel in a task of its own: whoever is being cancelled may be cancelled twice."""
        if not await asyncio.shield(asyncio.ensure_future(self.cancel(prompt_id, seconds))):
            self.stuck = True
            log.error("prompt %s could not be cancelled in time; ComfyUI should be restarted", prompt_id)

    async def _forget(self, prompt_id: str) -> None:
        self._prompts.pop(prompt_id, None)
        if socket := self._sockets.pop(prompt_id, None):
            await socket.close()
