"""One job from the command line's request to its files."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from cli.arguments import Given
from cli.console import ProgressBar
from cli.inputs import check_payload, checked, picture_of, with_files
from cli.local_files import bring, upload
from cli.outcome import Finished, RunFailed
from cli.places import Place, place_of
from cli.results import Names, save, save_overlay
from worker.errors import JobError
from worker.operations import Operation
from worker.settings import Settings, SettingsError


def run_one(args: argparse.Namespace, operation: Operation, given: Given) -> dict[str, Any]:
    """The answer, with the paths of its files. Raises RunFailed, JobError, SettingsError.

    args: url, endpoint, timeout, output. Whatever can be refused is refused before the job is sent.
    """
    place = place_of(args.url, args.endpoint, args.timeout)
    brought = bring(given, place.settings, place.is_remote)
    fields = {**with_files(given, place.most_bytes), **brought.fields}
    request = checked(operation, fields, {**given.files, **brought.files}, place.settings)
    job_input = {"operation": operation.name, **fields}
    if place.is_remote:
        check_payload(job_input, given)
    makes_video = any(output.kind == "video" for output in operation.outputs(request, "id").values())
    ending = ".mp4" if makes_video else "_masks.png"
    Names.of(args.output, operation.name, ending).make_folder()
    with ProgressBar(operation.name, out=sys.stderr) as bar:
        upload(brought, bar.show)
        finished = place.run(job_input, bar.show, brought.served)
    names = Names.of(args.output, f"{operation.name}_{finished.job_id}", ending)
    return _saved(finished, names) if makes_video else _with_overlay(finished, names, operation, request, given, place)


def _saved(finished: Finished, names: Names) -> dict[str, Any]:
    try:
        return save(finished.output, names)
    except RunFailed as error:
        status = {"status": "COMPLETED", "output": finished.output}
        raise RunFailed(f"Job {finished.job_id} is done, but: {error}", status=status) from error


def _with_overlay(
    finished: Finished, names: Names, operation: Operation, request: Any, given: Given, place: Place
) -> dict[str, Any]:
    """The masks, and the picture with them; without the picture only they, and a word about it."""
    answer = _saved(finished, names)
    try:
        with tempfile.TemporaryDirectory(prefix="run-") as folder:
            picture = picture_of(operation, request, given, place.settings or Settings.from_env(), Path(folder))
            return save_overlay(answer, picture, given.fields, names)
    except (RunFailed, JobError, SettingsError) as error:
        print(f"No picture with the masks over it: {error}", file=sys.stderr)
        return answer
