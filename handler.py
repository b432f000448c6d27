"""The RunPod entry: a job comes in, an answer goes out; nothing else.

python handler.py            a worker of the queue that RunPod's environment names
python handler.py --check    what this worker sees: settings (secrets masked), ComfyUI, graphs, models
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

# The SDK's own default writes every answer, presigned URLs and all, to the log. It is read on import.
if not {"RUNPOD_LOG_LEVEL", "RUNPOD_DEBUG_LEVEL"} & os.environ.keys():
    os.environ["RUNPOD_LOG_LEVEL"] = "INFO"

import runpod

from worker.delivery import PLATFORM_ANSWER_BYTES
from worker.errors import JobError
from worker.find_comfyui import find_comfyui
from worker.host import Worker
from worker.jobs import run_job
from worker.own_loop import OwnLoop
from worker.redact import RedactedOutput, RedactingFilter
from worker.settings import Settings, SettingsError

LOG_FORMAT = "%(levelname)-7s| %(name)s: %(message)s"


def answer_for_runpod(answer: dict[str, Any], engine_is_down: bool = False) -> dict[str, Any]:
    """A failure in the form in which RunPod shows it: FAILED, `error` as JSON text, the rest as `output`.

    runpod 1.12 takes `error` out of the returned dict and posts it beside `output`. The platform wants a text there;
    with an object the job reads COMPLETED and both are lost (runpod-python issue 299).
    """
    if "error" not in answer:
        return answer
    failed = {**answer, "error": json.dumps(answer["error"], ensure_ascii=False)}
    if engine_is_down or answer["error"]["code"] in ("engine_unreachable", "engine_not_found"):
        failed["refresh_worker"] = True  # this worker cannot help itself: RunPod replaces it after the answer
    return failed


def serve(worker: Worker) -> int:
    """Start ComfyUI, then take jobs one at a time until RunPod or a signal ends the worker: 0, or 1 if it gave up."""
    for output in logging.getLogger().handlers:
        output.addFilter(RedactingFilter(worker.redact))
    # The SDK does not log, it prints: at its level DEBUG whole answers.
    sys.stdout = RedactedOutput(sys.stdout, worker.redact)
    config: dict[str, Any] = {"concurrency_modifier": lambda current: 1, "refresh_worker": False}
    with OwnLoop() as loop:

        async def handler(job: dict[str, Any]) -> dict[str, Any]:
            def send(update: Any) -> None:
                runpod.serverless.progress_update(job, update.as_dict())

            work = run_job(job, worker, send, PLATFORM_ANSWER_BYTES)
            answer = answer_for_runpod(await loop.run(work), worker.engine.down)
            # In the answer it asks the platform for another worker; here it has the SDK leave its loop afterwards.
            config["refresh_worker"] = answer.get("refresh_worker", False)
            return answer

        try:
            loop.wait(worker.start())
            config["handler"] = handler  # the SDK goes on reading this very dict
            runpod.serverless.start(config)
        finally:
            loop.wait(worker.stop())
    if config["refresh_worker"]:
        logging.error("This worker gave up: it could not bring ComfyUI back. The last job's error says why.")
    return int(config["refresh_worker"])


def check(settings: Settings) -> int:
    """Print what the worker sees; 0 if a job of the default operation could run: an endpoint may serve one alone."""
    print("Settings")
    for name, value in settings.masked().items():
        print(f"  {name:28} {value}")
    good = True
    try:
        found = find_comfyui(settings)
        note = "" if found.is_pinned else "  NOT the pinned version"
        print(f"ComfyUI {found.version} {found.commit or ''} at {found.path} ({found.source}){note}")
    except JobError as error:
        good = False
        print(f"ComfyUI: {error.message}\n  {error.hint}")
    missing = settings.missing_for_store()
    print(f"Store: {'missing ' + ', '.join(missing) if missing else settings.minio_endpoint}")
    worker = Worker(settings)
    for operation in worker.operations.values():
        operation.check()
        is_default = operation.name == settings.default_operation
        print(f"Operation {operation.name}{' (DEFAULT_OPERATION)' if is_default else ''}")
        for name, graph in operation.graphs.items():
            print(f"  {name}.json: graph sha256 {graph.sha256}")
        for model in worker.models(*operation.graphs.values()):
            good &= model.path is not None or not is_default
            print(f"  {'present' if model.path else 'MISSING'}  {model.folder}/{model.name}")
    if settings.default_operation not in worker.operations:
        good = False
        print(f"DEFAULT_OPERATION is {settings.default_operation!r}; there are {', '.join(sorted(worker.operations))}")
    return 0 if good and not missing else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run or check. What it cannot go on with is said in one paragraph, without a traceback."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="print what the worker sees, and end")
    args, _ = parser.parse_known_args(arguments)  # the rest is the SDK's own, such as --rp_log_level
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stdout, force=True)
    try:
        settings = Settings.from_env()
        if args.check:
            return check(settings)
        return serve(Worker(settings))
    except (JobError, SettingsError) as error:
        hint = f"\n{error.hint}" if isinstance(error, JobError) else ""
        print(f"{error}{hint}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
