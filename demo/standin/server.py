"""The stand-in's HTTP side: the paths of ComfyUI v0.33.0 that a worker uses, and `/standin/fault` to set a fault."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from demo.standin.faults import Fault, FaultPlan, Kind
from demo.standin.graph_check import check, model_missing
from demo.standin.runner import Runner
from demo.standin.sockets import FEATURES, Sockets
from demo.standin.table import Prompt, Table, is_canonical_uuid
from demo.standin.work import Folders

VERSION = "0.33.0"
RECORDED = Path(__file__).with_name("object_info.json")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StandIn:
    """`port = await standin.start()`, then `base_url`; `faults.set(...)` for prompts to come; `await standin.stop()`.

    `on_crash` is what the fault `crash` does: by default every connection breaks and the port closes.
    """

    def __init__(
        self,
        base_directory: Path,
        fault: Fault | None = None,
        step_seconds: float = 0.01,
        info: dict[str, Any] | None = None,
        on_crash: Callable[[], None] | None = None,
    ):
        self.folders = Folders(base_directory.absolute())
        for kind in ("input", "output", "temp"):
            self.folders.of_type(kind).mkdir(parents=True, exist_ok=True)
        self.faults = FaultPlan(fault)
        self.info = info if info is not None else json.loads(RECORDED.read_text(encoding="utf-8"))
        self.table = Table()
        self.sockets = Sockets()
        self.base_url = ""
        self._on_crash = on_crash or self._break
        self._runner = Runner(self, self.table, self.info, self.folders, step_seconds)
        self._hanging = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._site: web.AppRunner | None = None

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> int:
        """Listen; 0 is any free port. Gives the port."""
        app = web.Application(middlewares=[self._middleware()], client_max_size=100 * 2**20)
        app.add_routes(self._routes())
        self._site = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._site.setup()
        await web.TCPSite(self._site, host, port).start()
        self._tasks.add(asyncio.create_task(self._runner.run_for_ever()))
        port = self._site.addresses[0][1]
        self.base_url = f"http://{host}:{port}"
        return port

    async def stop(self) -> None:
        """Close everything; a running prompt is left as it is."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.sockets.abort()
        if self._site is not None:
            await self._site.cleanup()
            self._site = None

    async def send_status(self) -> None:
        """How many prompts wait or run, to everybody."""
        await self.sockets.send("status", {"status": self._queue_info()})

    def hang(self) -> None:
        """Answer nothing any more."""
        self._hanging = True

    def crash(self) -> None:
        """End without a word."""
        self._on_crash()

    def _break(self) -> None:
        self._tasks.add(asyncio.create_task(self.stop()))

    def _queue_info(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": len(self.table.with_status("pending", "in_progress"))}}

    def _middleware(self) -> Any:
        @web.middleware
        async def hang_if_told(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self._hanging and not request.path.startswith("/standin/"):
                await asyncio.Event().wait()
            return await handler(request)

        return hang_if_told

    def _routes(self) -> list[web.RouteDef]:
        """ComfyUI has every path under /api too, except /api/jobs, which is only there."""
        jobs = [
            web.get("/api/jobs/{id}", self._job),
            web.post("/api/jobs/{id}/cancel", self._cancel),
            web.post("/standin/fault", self._set_fault),
        ]
        twice = [
            ("GET", "/ws", self._websocket),
            ("GET", "/prompt", self._get_prompt),
            ("POST", "/prompt", self._post_prompt),
            ("GET", "/queue", self._get_queue),
            ("POST", "/queue", self._post_queue),
            ("GET", "/history", self._history),
            ("GET", "/history/{id}", self._history),
            ("POST", "/interrupt", self._interrupt),
            ("POST", "/free", self._free),
            ("GET", "/object_info", self._object_info),
            ("GET", "/object_info/{class}", self._object_info),
            ("GET", "/system_stats", self._system_stats),
            ("GET", "/features", self._features),
        ]
        return jobs + [
            web.route(way, prefix + path, handler) for prefix in ("", "/api") for way, path, handler in twice
        ]

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        return await self.sockets.serve(request, self._queue_info(), self._runner.current)

    async def _get_prompt(self, _: web.Request) -> web.Response:
        return web.json_response(self._queue_info())

    async def _post_prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        if "prompt" not in body:
            return _refused("no_prompt", "No prompt provided", "No prompt provided")
        prompt_id = body.get("prompt_id")
        if not is_canonical_uuid(prompt_id):
            details = "prompt_id must be a UUID string in canonical lowercase hyphenated form"
            return _refused("invalid_prompt_id", "prompt_id must be a valid UUID", details)
        number, fault = self.table.next_number(), self.faults.take()
        verdict = check(body["prompt"], self.info, self.folders.input)
        if fault and fault.kind is Kind.REJECT:
            verdict = model_missing(body["prompt"], self.info)
        if verdict.error:
            return web.json_response({"error": verdict.error, "node_errors": verdict.node_errors}, status=400)
        extra = {**body.get("extra_data", {}), "client_id": body.get("client_id")}
        self.table.add(Prompt(number, prompt_id, body["prompt"], extra, verdict.outputs, fault))
        await self.send_status()
        return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors})

    async def _get_queue(self, _: web.Request) -> web.Response:
        running = [prompt.item() for prompt in self.table.with_status("in_progress")]
        pending = [prompt.item() for prompt in self.table.with_status("pending")]
        return web.json_response({"queue_running": running, "queue_pending": pending})

    async def _post_queue(self, request: web.Request) -> web.Response:
        body = await request.json()
        waiting = [prompt.prompt_id for prompt in self.table.with_status("pending")] if body.get("clear") else []
        for prompt_id in [*waiting, *body.get("delete", [])]:
            self.table.remove(prompt_id)
        await self.send_status()
        return web.Response()

    async def _history(self, request: web.Request) -> web.Response:
        wanted = request.match_info.get("id")
        over = self.table.with_status("completed", "failed", "cancelled")
        found = [prompt for prompt in over if wanted in (None, prompt.prompt_id)]
        return web.json_response({prompt.prompt_id: prompt.history() for prompt in found})

    async def _job(self, request: web.Request) -> web.Response:
        prompt = self.table.get(request.match_info["id"])
        if prompt is None:
            return web.json_response({"error": "Job not found"}, status=404)
        return web.json_response(prompt.job())

    async def _cancel(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        removed = self.table.remove(prompt_id)
        if removed:
            await self.send_status()
        return web.json_response({"cancelled": removed or self.table.interrupt(prompt_id)})

    async def _interrupt(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else {}
        self.table.interrupt(body.get("prompt_id"))
        return web.Response()

    async def _free(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _object_info(self, request: web.Request) -> web.Response:
        wanted = request.match_info.get("class")
        return web.json_response({name: one for name, one in self.info.items() if wanted in (None, name)})

    async def _system_stats(self, _: web.Request) -> web.Response:
        device = {"name": "stand-in, no model runs", "type": "cpu", "index": None, "vram_total": 0, "vram_free": 0}
        system = {"os": "stand-in", "comfyui_version": VERSION, "ram_total": 0, "ram_free": 0, "argv": []}
        return web.json_response({"system": system, "devices": [device]})

    async def _features(self, _: web.Request) -> web.Response:
        return web.json_response(FEATURES)

    async def _set_fault(self, request: web.Request) -> web.Response:
        """{"fault": "crash" or null, "times": 1}: the fault of the prompts to come. ComfyUI has no such path."""
        body = await request.json()
        try:
            fault = Fault.parse(body["fault"]) if body.get("fault") else None
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        self.faults.set(fault, body.get("times"))
        return web.Response()


def _refused(kind: str, message: str, details: str) -> web.Response:
    error = {"type": kind, "message": message, "details": details, "extra_info": {}}
    return web.json_response({"error": error, "node_errors": {}}, status=400)
