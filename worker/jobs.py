"""The life of one job: check the request, fetch the inputs, bind the graph, submit, follow, collect, check the
MP4, upload, answer. `run_job` is the story; one deadline stands over all of it, and however it ends nothing of
the job is left behind.
"""

import asyncio
import contextlib
import logging
import re
import shutil
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from worker.comfyui import ComfyClient
from worker.errors import JobError
from worker.events import Finished, OutputFile
from worker.finished import Report, check_mp4
from worker.host import Worker
from worker.media import Inputs, VideoInfo, fetch_image, fetch_video, sniff
from worker.operations import Bound, Operation, Wanted
from worker.tracking import Send, Track

log = logging.getLogger(__name__)

FETCH, CHECK, UPLOAD = "Fetching inputs", "Checking the video", "Uploading"
OWN_SHARES = {FETCH: 2.0, CHECK: 1.0, UPLOAD: 1.0}
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "MP4": ".mp4", "MOV": ".mov", "Matroska": ".mkv"}


async def run_job(job: Mapping[str, Any], worker: Worker, send: Send = lambda update: None) -> dict[str, Any]:
    """One job {"id", "input"} from its request to its answer: the contract's, or {"error": {...}, "success": False}.

    Raises nothing but CancelledError (then the prompt is cancelled in ComfyUI, too). `send` gets the progress.
    """
    run = JobRun(job, worker, send)
    try:
        async with asyncio.timeout(worker.settings.job_timeout_s), run.track.sending():
            return await run.story()
    except TimeoutError:
        late = f"After {worker.settings.job_timeout_s:g} s, while {run.track.at}."
        return run.failed(JobError("deadline_exceeded", detail=late))
    except JobError as error:
        return run.failed(error)
    except Exception as error:  # a fault of ours is an answer, too; the log has the rest
        log.exception("job %s: a fault of the worker", run.id)
        return run.failed(JobError("internal", detail=f"{type(error).__name__} while {run.track.at}."))
    finally:
        run.leave_nothing_behind()


class JobRun:
    """One job on its way."""

    def __init__(self, job: Mapping[str, Any], worker: Worker, send: Send):
        self.worker, self.settings = worker, worker.settings
        self.input = job.get("input")
        # The id becomes a file name in the store; RunPod's own ids pass as they are.
        self.id = re.sub(r"[^A-Za-z0-9._-]", "_", str(job.get("id") or ""))[:128].strip(".") or str(uuid.uuid4())
        # A job that is sent again has the same id; a prompt's id is used once.
        self.prompt_id = str(uuid.uuid4())
        self.deadline = time.monotonic() + self.settings.job_timeout_s
        self.track = Track(OWN_SHARES, send)
        self.cold = worker.take_number() == 1
        self.operation: Operation | None = None
        self.request: Any = None

    async def story(self) -> dict[str, Any]:
        """From the request to the answer. Raises JobError."""
        operation, request = self.check_request()
        paths, infos = await self.fetch_inputs(operation, request)
        expected = operation.expected(request, infos)
        bound = operation.bind(request, paths, self.prompt_id)
        with self.track.stage("wait_for_comfyui", "waiting for ComfyUI"):
            await self.worker.engine_ready()
        with self.track.stage("generate", "the graph was running"):
            file = await self.generate(operation, request, bound)
        with self.track.stage("check", "checking the finished video", CHECK):
            report = (await asyncio.to_thread(check_mp4, file, expected)).require()
        with self.track.stage("upload", "uploading the video", UPLOAD):
            place = await self.upload(operation.output_key(request, self.id), file, request.presign)
        return self.succeeded(operation, request, report, place)

    def check_request(self) -> tuple[Operation, Any]:
        """Refuse whatever can be refused without fetching anything."""
        with self.track.stage("check_request", "checking the request"):
            if not isinstance(self.input, dict):
                raise JobError("missing_field", "input", "`input` is not an object.", 'Send {"input": {...}}.')
            self.operation = self.worker.operation(self.input)
            fields = {name: value for name, value in self.input.items() if name != "operation"}
            self.request = self.operation.parse(fields, self.settings)
            roles = {role: role for role in self.operation.wanted(self.request)}
            self.track.expect(self.operation.bind(self.request, roles, self.prompt_id).weights)
            return self.operation, self.request

    async def fetch_inputs(self, operation: Operation, request: Any) -> tuple[dict[str, str], dict[str, VideoInfo]]:
        """All inputs at once: {role: path below ComfyUI's input folder}, and {role: what was probed of a video}."""
        inputs = Inputs.from_settings(self.settings, self.worker.store)
        with self.track.stage("fetch", "fetching the inputs", FETCH):
            try:
                async with asyncio.TaskGroup() as group:
                    wanted = operation.wanted(request)
                    tasks = {role: group.create_task(self.fetch(role, wanted[role], inputs)) for role in wanted}
            except* JobError as errors:
                raise _first(errors) from None
        fetched = {role: task.result() for role, task in tasks.items()}
        infos = {role: info for role, (_, info) in fetched.items() if isinstance(info, VideoInfo)}
        return {role: f"{self.prompt_id}/{path.name}" for role, (path, _) in fetched.items()}, infos

    async def fetch(self, role: str, wanted: Wanted, inputs: Inputs) -> tuple[Path, Any]:
        """One input, proven to be what it should be, under a name that tells its real format."""
        path = self.worker.engine.input_dir / self.prompt_id / role
        path.parent.mkdir(parents=True, exist_ok=True)
        if wanted.kind == "image":
            info: Any = await fetch_image(wanted.source, path, inputs, wanted.min_side)
        else:
            info = await fetch_video(wanted.source, path, inputs)
        with path.open("rb") as file:
            named = path.with_suffix(SUFFIXES.get(sniff(file.read(4096)), ""))
        return path.rename(named), info

    async def generate(self, operation: Operation, request: Any, bound: Bound) -> Path:
        """Submit the graph and follow it to its end: the path of the video that it wrote."""
        async with self.worker.engine.client() as client:
            try:
                await client.submit(bound.prompt, self.prompt_id, self.deadline)
                # Half a second before our own clock, because the client can say where in the graph it was.
                async with contextlib.aclosing(client.follow(self.prompt_id, self.deadline - 0.5)) as events:
                    async for event in events:
                        self.track.hear(event, operation.graph.title_of)
                        if isinstance(event, Finished):
                            self.track.all_done(bound.weights)
                            return self.worker.engine.path_of(_video(event.outputs))
            except JobError as error:
                error.field = error.field or operation.field_of(error.code, self.track.last_node, request)
                raise
            finally:
                await self.unstick(client)
        raise JobError("no_output")

    async def unstick(self, client: ComfyClient) -> None:
        """A prompt that will not stop keeps the GPU from the next job: ComfyUI is started anew."""
        if client.stuck:
            log.error("job %s: its prompt does not stop; ComfyUI is restarted", self.id)
            await asyncio.shield(asyncio.ensure_future(self.worker.engine.restart()))

    async def upload(self, key: str, file: Path, presign: bool) -> dict[str, Any]:
        """Into the store, always under the same key for the same job; where it is now."""
        await self.worker.store.put(file, key, "video/mp4")
        place: dict[str, Any] = {"minio_key": key}
        if presign:
            seconds = self.settings.presign_seconds
            place["presigned_url"] = await self.worker.store.presign(key, seconds)
            until = datetime.now(UTC) + timedelta(seconds=seconds)
            place["presigned_url_expires_at"] = until.isoformat(timespec="seconds")
        return place

    def succeeded(self, operation: Operation, request: Any, report: Report, place: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of the contract."""
        video = {
            "width": report.width,
            "height": report.height,
            "fps": report.fps,
            "num_frames": report.num_frames,
            "duration_seconds": report.duration_seconds,
            "video_size_bytes": report.video_size_bytes,
        }
        return {"success": True, **self.common(), **place, **video}

    def failed(self, error: JobError) -> dict[str, Any]:
        """The answer of a job that did not succeed, without secrets."""
        answer = {"error": error.as_dict(), "success": False, **self.common()}
        answer = self.worker.redact.deep(answer)
        log.warning("job %s failed: %s", self.id, answer["error"])
        return answer

    def common(self) -> dict[str, Any]:
        """What every answer carries."""
        return {
            "operation": self.operation.name if self.operation else None,
            "seed": getattr(self.request, "seed", None),
            "timings": self.track.timings(),
            "versions": self.worker.versions(self.operation),
            "worker": {"cold_start": self.cold, "comfyui_start_seconds": self.worker.ready_seconds},
        }

    def leave_nothing_behind(self) -> None:
        """Inputs, outputs and scratch files of this job, whatever became of it. Never raises."""
        engine = self.worker.engine
        scratch = engine.temp_dir / "comfy_motion" / self.prompt_id
        for folder in (engine.input_dir / self.prompt_id, engine.output_dir / self.prompt_id, scratch):
            # Here and not in a thread: a job that is cancelled a second time would leave its files.
            shutil.rmtree(folder, ignore_errors=True)


def _video(files: tuple[OutputFile, ...]) -> OutputFile:
    """The one video among the files of a prompt."""
    videos = [file for file in files if file.type == "output" and file.filename.lower().endswith(".mp4")]
    if len(videos) != 1:
        raise JobError("no_output", detail=f"{len(videos)} MP4 files were named, of {len(files)} files.")
    return videos[0]


def _first(errors: BaseExceptionGroup[JobError]) -> JobError:
    """The first error of a group; the others are mostly the same trouble seen by the other input."""
    first = errors.exceptions[0]
    return first if isinstance(first, JobError) else _first(first)
