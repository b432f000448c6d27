"""A local queue that speaks RunPod's two sides, so that the handler runs here exactly as in production.

    python -m demo.queue_server --port 8000

Towards clients it is the public API (`/v2/<endpoint>/run`, runsync, status, stream, cancel, health,
purge-queue), with the platform's payload limits and an Authorization header asked for. Towards workers it
answers what the loop of the runpod SDK 1.12 asks (job-take, job-stop, job-done, job-stream, ping; see
`QueueServer.worker_env`). Jobs are held in memory, for one machine: the queue of production is RunPod's.
"""

import argparse
import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from demo.queue_jobs import FINAL, Jobs

LIMITS_MIB = {"run": 10, "runsync": 20}
RESULT_LIMIT_MIB = 20
TAKE_HOLD_S = 2.0
"""How long job-take and job-stop are held open. The SDK asks again at once, and leaves only between two polls."""
RUNSYNC_WAIT_S = 90.0


class QueueServer:
    """The queue, in a thread of its own. `with QueueServer() as queue:`, then `queue.url` and `queue.worker_env()`."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, endpoint: str = "local", execution_timeout: float = 1200
    ):
        self.host, self.port, self.endpoint = host, port, endpoint
        self.jobs = Jobs(execution_timeout)
        self._news: asyncio.Condition | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run_thread, name="queue", daemon=True)

    @property
    def url(self) -> str:
        """What `runpod.endpoint_url_base` is set to."""
        return f"http://{self.host}:{self.port}/v2"

    def worker_env(self) -> dict[str, str]:
        """The variables that make the SDK's loop a worker of this queue. The platform sets the same ones."""
        base = f"{self.url}/{self.endpoint}"
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=local",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=local",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=local",
            "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID?gpu=local",
            "RUNPOD_AI_API_KEY": "local-worker",
            "RUNPOD_POD_ID": "local-worker",
        }

    def __enter__(self) -> "QueueServer":
        self._thread.start()
        self._ready.wait()
        if self._failed:
            raise RuntimeError(f"the queue cannot listen on {self.host}:{self.port}: {self._failed}") from self._failed
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop and self._stop:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=10)

    def _run_thread(self) -> None:
        try:
            asyncio.run(self.serve())
        except BaseException as error:  # told to the thread that waits in __enter__
            self._failed = error
        finally:
            self._ready.set()

    async def serve(self) -> None:
        """Serve until stopped. Port 0 takes a free one."""
        self._loop, self._stop, self._news = asyncio.get_running_loop(), asyncio.Event(), asyncio.Condition()
        # Long polls are let go at once when the server stops, not after their time.
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.2, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, self.host, self.port)
        try:
            await site.start()
            self.port = runner.addresses[0][1]
            self._ready.set()
            await self._stop.wait()
        finally:
            await runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[_authorised], client_max_size=64 * 2**20)
        base = f"/v2/{self.endpoint}"
        app.add_routes(
            [
                web.post(f"{base}/run", self._run),
                web.post(f"{base}/runsync", self._runsync),
                web.get(f"{base}/status/{{job}}", self._status),
                web.post(f"{base}/status/{{job}}", self._status),
                web.get(f"{base}/stream/{{job}}", self._stream),
                web.post(f"{base}/cancel/{{job}}", self._cancel),
                web.post(f"{base}/purge-queue", self._purge),
                web.get(f"{base}/health", self._health),
                web.get(f"{base}/job-take/{{worker}}", self._job_take),
                web.get(f"{base}/job-stop/{{worker}}", self._job_stop),
                web.post(f"{base}/job-done/{{worker}}/{{job}}", self._job_done),
                web.post(f"{base}/job-stream/{{worker}}/{{job}}", self._job_stream),
                web.get(f"{base}/ping/{{worker}}", self._ping),
            ]
        )
        return app

    # --- what clients ask -------------------------------------------------------------------------------------

    async def _run(self, request: web.Request) -> web.Response:
        job = self.jobs.submit(await _payload(request, "run"), "run", time.monotonic())
        await self._tell()
        return web.json_response({"id": job.id, "status": job.status})

    async def _runsync(self, request: web.Request) -> web.Response:
        wait = min(max(float(request.query.get("wait", RUNSYNC_WAIT_S * 1000)) / 1000, 1.0), 300.0)
        job = self.jobs.submit(await _payload(request, "runsync"), "runsync", time.monotonic())
        await self._tell()
        await self._until(lambda: job.status in FINAL, wait)
        return web.json_response(job.view())

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(self._job(request).view())

    async def _stream(self, request: web.Request) -> web.Response:
        job = self._job(request)
        chunks = [{"output": chunk} for chunk in job.streamed]
        job.streamed.clear()
        return web.json_response({"id": job.id, "status": job.status, "stream": chunks})

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self._job(request)
        self.jobs.cancel(job.id, time.monotonic())
        await self._tell()
        return web.json_response(job.view())

    async def _purge(self, request: web.Request) -> web.Response:
        return web.json_response({"removed": self.jobs.purge(), "status": "completed"})

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response(self.jobs.health(time.monotonic()))

    def _job(self, request: web.Request) -> Any:
        self.jobs.sweep(time.monotonic())
        job = self.jobs.get(request.match_info["job"])
        if job is None:
            raise _refuse(web.HTTPNotFound, "request does not exist")
        return job

    # --- what the SDK's loop asks -----------------------------------------------------------------------------

    async def _job_take(self, request: web.Request) -> web.Response:
        worker, found = request.match_info["worker"], []

        def take() -> bool:
            self.jobs.seen(worker, time.monotonic())
            job = self.jobs.take(worker, time.monotonic())
            found.extend([job] if job else [])
            return bool(found)

        await self._until(take, TAKE_HOLD_S)
        return web.json_response({"id": found[0].id, "input": found[0].input}) if found else web.Response(status=204)

    async def _job_stop(self, request: web.Request) -> web.Response:
        worker, stops = request.match_info["worker"], []

        def collect() -> bool:
            self.jobs.sweep(time.monotonic())
            stops.extend(self.jobs.stops_for(worker))
            return bool(stops)

        await self._until(collect, TAKE_HOLD_S)
        return web.json_response({"jobsToStop": stops}) if stops else web.Response(status=204)

    async def _job_done(self, request: web.Request) -> web.Response:
        body = await request.read()
        if len(body) > RESULT_LIMIT_MIB * 2**20:
            raise _refuse(web.HTTPBadRequest, f"bad request: body: exceeded max body size of {RESULT_LIMIT_MIB}MiB")
        self.jobs.finish(request.match_info["job"], json.loads(body), time.monotonic())
        await self._tell()
        return web.json_response({})

    async def _job_stream(self, request: web.Request) -> web.Response:
        self._job(request).streamed.append(json.loads(await request.read()).get("output"))
        return web.json_response({})

    async def _ping(self, request: web.Request) -> web.Response:
        self.jobs.seen(request.match_info["worker"], time.monotonic())
        return web.Response()

    # --- waiting ----------------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        async with self._condition:
            self._condition.notify_all()

    async def _until(self, done: Callable[[], bool], seconds: float) -> None:
        """Wait for `done`, asked at every change and at least once a second, but no longer than `seconds`."""
        end = time.monotonic() + seconds
        async with self._condition:
            while not done() and (left := end - time.monotonic()) > 0:
                try:
                    await asyncio.wait_for(self._condition.wait(), min(left, 1.0))
                except TimeoutError:
                    continue

    @property
    def _condition(self) -> asyncio.Condition:
        if self._news is None:
            raise RuntimeError("the queue is not being served")
        return self._news


@web.middleware
async def _authorised(request: web.Request, handler: Callable[[web.Request], Awaitable[Any]]) -> Any:
    """Any key that is not empty, as this queue has no accounts; none is 401, as on the platform."""
    if not request.headers.get("Authorization", "").removeprefix("Bearer").strip():
        raise _refuse(web.HTTPUnauthorized, "unauthorized")
    return await handler(request)


async def _payload(request: web.Request, kind: str) -> dict[str, Any]:
    """The checked body of /run or /runsync, refused in the platform's words."""
    body = await request.read()
    if len(body) > LIMITS_MIB[kind] * 2**20:
        raise _refuse(web.HTTPBadRequest, f"bad request: body: exceeded max body size of {LIMITS_MIB[kind]}MiB")
    try:
        payload = json.loads(body)
    except ValueError as error:
        raise _refuse(web.HTTPBadRequest, f"bad request: body: {error}") from error
    if not isinstance(payload, dict) or "input" not in payload:
        raise _refuse(web.HTTPBadRequest, 'bad request: body: a JSON object with the key "input" is wanted')
    return payload


def _refuse(kind: type[web.HTTPException], text: str) -> web.HTTPException:
    return kind(text=json.dumps({"error": text}), content_type="application/json")


def main() -> None:
    """`python -m demo.queue_server`: serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A local queue that speaks RunPod's API. In memory, for one machine.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--endpoint", default="local", help="the endpoint id in the URLs")
    args = parser.parse_args()
    with QueueServer(args.host, args.port, args.endpoint) as queue:
        print(f"Local queue for one machine, jobs in memory, endpoint {queue.endpoint!r} at {queue.url}")
        print("A worker joins with:")
        for name, value in queue.worker_env().items():
            print(f"  export {name}='{value}'")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("Stopped; jobs that were not done are lost.")


if __name__ == "__main__":
    main()
