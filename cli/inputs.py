"""The request before it is sent: files of this machine in base64, and everything refused that can be refused here."""

import asyncio
import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.arguments import Given
from cli.results import download
from worker.errors import JobError
from worker.media import probe_any_video, probe_image, probe_sound
from worker.operations import Info, Operation, Wanted
from worker.operations.base import parse_model
from worker.settings import Settings
from worker.store import ObjectStore

MAX_PAYLOAD_BYTES = 10 * 2**20
"""RunPod's limit for the body of /run (its documentation; the local queue enforces it too)."""
_INSTEAD = "Give an http(s) URL instead, or put the file into the bucket and give minio:KEY."


def with_files(given: Given, most_bytes: int) -> dict[str, Any]:
    """The request's fields with its files as base64. Raises JobError too_large, fetch_failed."""
    fields = dict(given.fields)
    for name, path in given.files.items():
        try:
            if (size := path.stat().st_size) > most_bytes:
                detail = f"{path} has {size / 1e6:.1f} MB; at most {most_bytes / 1e6:.1f} MB can be sent as a file."
                raise JobError("too_large", name, detail, _INSTEAD)
            fields[name] = base64.b64encode(path.read_bytes()).decode("ascii")
        except OSError as error:
            detail, hint = f"{path} cannot be read: {error.strerror}.", "Check the file and its permissions."
            raise JobError("fetch_failed", name, detail, hint) from None
    return fields


def check_payload(job_input: Mapping[str, Any], given: Given) -> None:
    """Raises JobError too_large for a request that the platform would turn away."""
    size = len(json.dumps({"input": job_input}))
    if size > MAX_PAYLOAD_BYTES:
        field = next(iter(given.files), None)
        detail = f"The request has {size / 2**20:.1f} MiB; the platform takes {MAX_PAYLOAD_BYTES // 2**20} MiB."
        raise JobError("too_large", field, detail, _INSTEAD)


def checked(
    operation: Operation, fields: Mapping[str, Any], files: Mapping[str, Path], settings: Settings | None
) -> Any:
    """The request as the worker will see it, so that a mistake costs nothing. Raises the worker's own JobErrors.

    files: {field: file of this machine that it stands for}. settings: those of the worker, where they are known;
    without them only what no setting can change is refused.
    """
    request = operation.parse(fields, settings) if settings else parse_model(operation.request, fields)
    if files:
        _check_files(operation, request, files, settings)
    return request


def _check_files(operation: Operation, request: Any, files: Mapping[str, Path], settings: Settings | None) -> None:
    """Files of this machine can be opened here; boxes, masks and times are held to them if all of them are here."""
    wanted = operation.wanted(request)
    infos: dict[str, Info] = {}
    for role, one in wanted.items():
        if path := files.get(one.source.field):
            try:
                infos[role] = _probed(path, one, settings)
            except JobError as error:
                raise error.with_field(one.source.field) from None
    if infos.keys() == wanted.keys():
        operation.expected(request, infos)


def _probed(path: Path, wanted: Wanted, settings: Settings | None) -> Info:
    if wanted.kind == "image":
        return probe_image(path, wanted.min_side)
    if wanted.kind == "audio":
        return probe_sound(path, settings.max_audio_seconds if settings else None)
    return probe_any_video(path)


def picture_of(operation: Operation, request: Any, given: Given, settings: Settings, folder: Path) -> Path:
    """The request's first picture on this machine, fetched into `folder` if it is not here yet.

    Raises RunFailed; JobError, where it is in a bucket that the settings do not name or that does not give it.
    """
    source = next(one.source for one in operation.wanted(request).values() if one.kind == "image")
    path = folder / "picture"
    if source.kind == "base64":
        return given.files[source.field]
    if source.kind == "url":
        download(source.value, path)
    else:
        asyncio.run(ObjectStore.from_settings(settings).get(source.value, path))
    return path
