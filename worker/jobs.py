"""The life of one job: check the request, fetch the inputs, bind the graph, submit, follow, collect, check what it
made, deliver it, answer. `run_job` is the story; one deadline stands over all of it, and however it ends nothing of
the job is left behind but what the same job may go on from.
"""

import asyncio
import contextlib
import hashlib
import logging
import re
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from worker.comfyui import ComfyClient
from worker.delivery import Delivery, Files, Placed, bytes_of, first_of, require_picture
from worker.errors import JobError
from worker.events import Finished
from worker.filetype import SUFFIXES
from worker.finished import Expected, Report, check_mp4
from worker.graph import title_in
from worker.host import Worker
from worker.media import Inputs, fetch_audio, fetch_image, fetch_video, sniff
from worker.operations import Bound, Info, Operation, Output, Results, Wanted
from worker.progress import Update
from worker.r2 import RequestStore
from worker.redact import secrets_of
from worker.store import ObjectStore, expires_at
from worker.tracking import Send, Track

log = logging.getLogger(__name__)

FETCH, CHECK, UPLOAD = "Fetching inputs", "Checking the result", "Uploading"
OWN_SHARES = {FETCH: 2.0, CHECK: 1.0, UPLOAD: 1.0}
SUFFIX_OF = {"video": ".mp4", "image": ".png"}
"""What a node writes for each kind of output."""


async def run_job(
    job: Mapping[str, Any], worker: Worker, send: Send = lambda update: None, max_answer_bytes: int | None = None
) -> dict[str, Any]:
    """One job {"id", "input"} from its request to its answer: the contract's, or {"error": {...}, "success": False}.

    Raises nothing but CancelledError (then the prompt is cancelled in ComfyUI, too). `send` gets the progress;
    `max_answer_bytes` is what the answer may have as JSON, None where nothing limits it.
    """
    with worker.redact.hiding(secrets_of(job.get("input"))):
        run = JobRun(job, worker, send, max_answer_bytes)
        try:
            async with asyncio.timeout(worker.settings.job_timeout_s), run.track.sending():
                answer = await run.story()
                run.outcome = "success"
                return answer
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

    def __init__(self, job: Mapping[str, Any], worker: Worker, send: Send, max_answer_bytes: int | None = None):
        self.worker, self.settings, self.max_answer_bytes = worker, worker.settings, max_answer_bytes
        self.input = job.get("input")
        # The id becomes a file name in the store; RunPod's own ids pass as they are.
        self.id = re.sub(r"[^A-Za-z0-9._-]", "_", str(job.get("id") or ""))[:128].strip(".") or str(uuid.uuid4())
        # A job that is sent again has the same id; a prompt's id is used once.
        self.prompt_id = str(uuid.uuid4())
        self.deadline = time.monotonic() + self.settings.job_timeout_s

        def redacted(update: Update) -> None:
            send(replace(update, message=worker.redact.text(update.message)))

        self.track = Track(OWN_SHARES, redacted)
        self.cold = worker.take_number() == 1
        self.operation: Operation | None = None
        self.request: Any = None
        self.kept: str | None = None
        self.kept_stays = False
        self.outcome = "cancelled"
        """How the job ended: an error's code, or success; cancelled until it is known."""

    async def story(self) -> dict[str, Any]:
        """From the request to the answer. Raises JobError."""
        operation, request = self.check_request()
        outputs = operation.outputs(request, self.id)
        store = await self.open_store(operation, request, outputs)
        paths, infos = await self.fetch_inputs(operation, request)
        expected = operation.expected(request, infos)
        bound = operation.bind(request, paths, infos, self.prompt_id)
        if bound.kept:
            self.worker.kept.hold(bound.kept)
            self.kept, self.kept_stays = bound.kept, bound.stays
        with self.track.stage("wait_for_comfyui", "waiting for ComfyUI"):
            await self.worker.engine_ready()
        with self.track.stage("generate", "the graph was running"):
            ended = await self.generate(operation, request, bound)
        files = self.files_of(ended, bound, outputs)
        with self.track.stage("check", "checking the result", CHECK):
            report = await asyncio.to_thread(check_files, files, outputs, expected)
        # An operation whose answers may go without URLs has a field for it; the others always have them.
        seconds = self.settings.presign_seconds if getattr(request, "presign", True) else 0
        delivery = Delivery(outputs, store, seconds, self.max_answer_bytes)
        with self.track.stage("upload", "uploading the result", UPLOAD):
            placed = await delivery.upload(files)
        said = {title_in(bound.prompt, node): dict(kinds) for node, kinds in ended.said.items()}
        results = Results(infos, placed, report, said, 0.0, self.track.timings()["generate"])
        return await self.succeeded(operation, request, results, delivery, files, placed)

    def check_request(self) -> tuple[Operation, Any]:
        """Refuse whatever can be refused without fetching anything."""
        with self.track.stage("check_request", "checking the request"):
            if not isinstance(self.input, dict):
                raise JobError("missing_field", "input", "`input` is not an object.", 'Send {"input": {...}}.')
            self.operation = self.worker.operation(self.input)
            fields = {name: value for name, value in self.input.items() if name != "operation"}
            seed = self.operation.request.model_fields.get("seed")
            if seed and seed.default_factory:  # random, unless something else is documented
                # A job that the platform sends again has its id: with the seed it had, it goes on where it stopped.
                fields.setdefault("seed", seed_of(self.id))
            self.request = self.operation.parse(fields, self.settings)
            self.track.expect(self.operation.shares(self.request))
            return self.operation, self.request

    async def open_store(self, operation: Operation, request: Any, outputs: Mapping[str, Output]) -> ObjectStore | None:
        """Where the results go: the request's own store, else the worker's, else nowhere. Raises no_store and the
        faults of the request's store: before anything is fetched, and long before it would be written to."""
        missing = f"Missing: {', '.join(self.settings.missing_for_store())}."
        for wanted in operation.wanted(request).values():
            if wanted.source.kind == "key" and self.worker.store is None:
                detail = f"{wanted.source.field} is a key of its bucket. {missing}"
                raise JobError("no_store", wanted.source.field, detail)
        r2 = getattr(request, "r2", None)
        if r2 is None:
            if self.worker.store is None and any(output.inline == "never" for output in outputs.values()):
                raise JobError("no_store", detail=f"The result of {operation.name} goes into one. {missing}")
            return self.worker.store
        with self.track.stage("check_store", "checking the request's store"):
            store = RequestStore.from_r2(r2.as_dict(), exempt=self.settings.allow_private_addresses)
            await store.check(next((key for output in outputs.values() for key in output.keys), ""))
            return store

    async def fetch_inputs(self, operation: Operation, request: Any) -> tuple[dict[str, str], dict[str, Info]]:
        """All inputs at once: {role: path below ComfyUI's input folder}, and {role: what was probed of it}."""
        inputs = Inputs.from_settings(self.settings, self.worker.store)
        with self.track.stage("fetch", "fetching the inputs", FETCH):
            try:
                async with asyncio.TaskGroup() as group:
                    wanted = operation.wanted(request)
                    tasks = {role: group.create_task(self.fetch(role, wanted[role], inputs)) for role in wanted}
            except* JobError as errors:
                raise first_of(errors) from None
        fetched = {role: task.result() for role, task in tasks.items()}
        paths = {role: f"{self.prompt_id}/{path.name}" for role, (path, _) in fetched.items()}
        return paths, {role: info for role, (_, info) in fetched.items()}

    async def fetch(self, role: str, wanted: Wanted, inputs: Inputs) -> tuple[Path, Info]:
        """One input, proven to be what it should be, under a name that tells its real format."""
        path = self.worker.engine.input_dir / self.prompt_id / role
        path.parent.mkdir(parents=True, exist_ok=True)
        if wanted.kind == "image":
            info: Info = await fetch_image(wanted.source, path, inputs, wanted.min_side)
        elif wanted.kind == "audio":
            info = await fetch_audio(wanted.source, path, inputs)
        else:
            info = await fetch_video(wanted.source, path, inputs, wanted.digest)
        with path.open("rb") as file:
            named = path.with_suffix(SUFFIXES.get(sniff(file.read(4096)), ""))
        return path.rename(named), info

    async def generate(self, operation: Operation, request: Any, bound: Bound) -> Finished:
        """Submit the graph and follow it to its end."""
        async with self.worker.engine.client() as client:
            try:
                await client.submit(bound.prompt, self.prompt_id, self.deadline)
                # Half a second before our own clock, because the client can say where in the graph it was.
                async with contextlib.aclosing(client.follow(self.prompt_id, self.deadline - 0.5)) as events:
                    async for event in events:
                        # Titles of the prompt as it runs: it may have nodes that the pinned graph lacks.
                        self.track.hear(event, lambda node: title_in(bound.prompt, node))
                        if isinstance(event, Finished):
                            self.track.all_done(bound.weights)
                            return event
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

    def files_of(self, ended: Finished, bound: Bound, outputs: Mapping[str, Output]) -> Files:
        """{role: the files that its node wrote, as many as it was to write}. Raises no_output."""
        files: dict[str, list[Path]] = {}
        for role, output in outputs.items():
            own = [file for file in ended.outputs if title_in(bound.prompt, file.node_id) == output.title]
            suffix = SUFFIX_OF[output.kind]
            own = [file for file in own if file.type == "output" and file.filename.lower().endswith(suffix)]
            if len(own) != len(output.keys):
                seen = f'Node "{output.title}" named {len(own)} {suffix} files in the output folder'
                raise JobError("no_output", detail=f"{seen}, and {len(output.keys)} were wanted.")
            files[role] = [self.worker.engine.path_of(file) for file in own]
        return files

    async def succeeded(
        self, operation: Operation, request: Any, results: Results, delivery: Delivery, files: Files, placed: Placed
    ) -> dict[str, Any]:
        """The answer of the contract: at first without base64, to know how much of that it has room for."""
        bare = bytes_of(self.answer(operation, request, results))
        inlined, left_out = await delivery.inline(files, placed, bare)
        answer = self.answer(operation, request, replace(results, files=inlined), base64_left_out=left_out or None)
        delivery.require_room(answer)
        return answer

    def answer(self, operation: Operation, request: Any, results: Results, **more: Any) -> dict[str, Any]:
        """A good answer; the operation's own fields win over the common ones, and one that is None is left out."""
        urls = [file.url for files in results.files.values() for file in files if file.url]
        answer = {
            "success": True,
            **self.common(),
            **(video_figures(results.report) if results.report else {}),
            "urls_expire_at": min(map(expires_at, urls)) if urls else None,
            **more,
            **operation.answer(request, replace(results, seconds=self.track.seconds())),
        }
        return {name: value for name, value in answer.items() if value is not None}

    def failed(self, error: JobError) -> dict[str, Any]:
        """The answer of a job that did not succeed, without secrets."""
        self.outcome = error.code
        answer = {"error": error.as_dict(), "success": False, **self.common()}
        answer = self.worker.redact.deep(answer)
        log.warning("job %s failed: %s", self.id, answer["error"])
        return answer

    def common(self) -> dict[str, Any]:
        """What every answer carries."""
        graph = self.operation.graph_of(self.request) if self.operation and self.request is not None else None
        return {
            "operation": self.operation.name if self.operation else None,
            "seed": getattr(self.request, "seed", None),
            "timings": self.track.timings(),
            "versions": self.worker.versions(graph),
            "worker": {"cold_start": self.cold, "comfyui_start_seconds": self.worker.ready_seconds},
        }

    def leave_nothing_behind(self) -> None:
        """Inputs, outputs and scratch files of this job, whatever became of it. Never raises."""
        engine = self.worker.engine
        scratch = engine.temp_dir / "comfy_motion" / self.prompt_id
        for folder in (engine.input_dir / self.prompt_id, engine.output_dir / self.prompt_id, scratch):
            # Here and not in a thread: a job that is cancelled a second time would leave its files.
            shutil.rmtree(folder, ignore_errors=True)
        if self.kept:
            self.worker.kept.let_go(self.kept, self.outcome, self.kept_stays)
        self.worker.kept.sweep()


def seed_of(job_id: str) -> int:
    """The seed of a job that names none, 0 to 2**63 - 1: another one for each job, the same for the same job."""
    return int.from_bytes(hashlib.sha256(job_id.encode()).digest()[:8]) >> 1


def check_files(files: Files, outputs: Mapping[str, Output], expected: Expected | None) -> Report | None:
    """The report of the video, if there is one. Raises output_wrong for it and for a damaged picture."""
    report = None
    for role, output in outputs.items():
        if output.kind == "video" and expected:
            report = check_mp4(files[role][0], expected).require()
        elif output.kind == "image":
            for path in files[role]:
                require_picture(path)
    return report


def video_figures(report: Report) -> dict[str, Any]:
    """What an answer says of its video; pixels, frames, seconds, bytes."""
    names = ("width", "height", "fps", "num_frames", "duration_seconds", "video_size_bytes")
    return {name: getattr(report, name) for name in names}
