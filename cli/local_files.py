"""Files of this machine that are too large for a request: how a worker gets at them.

Where the MINIO_ variables are set, the file is put into that bucket, under its own hash, and the request names the key.
Without them a worker of this process fetches it from this process (cli.loopback); a worker elsewhere cannot have it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cli.arguments import Given, Local
from worker.errors import JobError
from worker.filetype import file_sha256, head_of, sniff
from worker.settings import Settings
from worker.store import ObjectStore

FOLDER = "inputs"
NOT_YET_SERVED = "http://127.0.0.1/"
"""Stands in the request, until there is a server, for the URL of a file that will be served."""


class _Kind(NamedTuple):
    """What becomes of a file: the ending of its key, and its MIME type."""

    ending: str
    content_type: str


_KINDS = {
    "MP4": _Kind("mp4", "video/mp4"),
    "MOV": _Kind("mov", "video/quicktime"),
    "Matroska": _Kind("mkv", "video/x-matroska"),
    "AVI": _Kind("avi", "video/x-msvideo"),
    "JPEG": _Kind("jpg", "image/jpeg"),
    "PNG": _Kind("png", "image/png"),
    "WebP": _Kind("webp", "image/webp"),
}
"""By the first bytes of the file, as the worker judges them."""


@dataclass(frozen=True)
class Brought:
    """How the files will reach the worker. Nothing has been sent yet.

    fields: of the request. files: {field: its file}. uploads: {key: file}, into `store`. served: {URL field: file}.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    uploads: dict[str, Path] = field(default_factory=dict)
    served: dict[str, Path] = field(default_factory=dict)
    store: ObjectStore | None = None


def bring(given: Given, of_worker: Settings | None, is_remote: bool) -> Brought:
    """Decide it. Raises SettingsError; JobError no_store where there is no way, too_large, fetch_failed.

    of_worker: the worker's settings, where they are known.
    """
    if not given.locals:
        return Brought()
    settings = of_worker or Settings.from_env()
    missing = settings.missing_for_store()
    brought = Brought(store=None if missing else ObjectStore.from_settings(settings))
    for local in given.locals:
        name = local.ways.get("url" if missing else "key")
        if not name or (missing and is_remote):
            raise _unreachable(local, missing, is_remote)
        try:
            if of_worker:
                _check_size(local.path, name, of_worker)
            if missing:
                brought.fields[name], brought.served[name] = NOT_YET_SERVED, local.path
            else:
                key = _key_of(local.path)
                brought.fields[name], brought.uploads[key] = key, local.path
        except OSError as error:
            detail, hint = f"{local.path} cannot be read: {error.strerror}.", "Check the file and its permissions."
            raise JobError("fetch_failed", name, detail, hint) from None
        brought.files[name] = local.path
    return brought


def upload(brought: Brought, on_news: Callable[[dict[str, Any]], None]) -> None:
    """Put into the bucket what is not there. Raises JobError bucket_not_found, store_denied, store_unavailable."""
    if brought.store is None:
        return
    for key, path in brought.uploads.items():
        on_news({"status": f"Uploading {path.name}"})
        asyncio.run(_put(brought.store, path, key))


async def _put(store: ObjectStore, path: Path, key: str) -> None:
    try:
        if (await store.stat(key)).size == path.stat().st_size:  # the key is the content's hash
            return
    except JobError as error:
        # Who may only write is not told what is there.
        if error.code not in ("object_not_found", "store_denied"):
            raise
    kind = _KINDS.get(sniff(head_of(path)))
    await store.put(path, key, kind.content_type if kind else "application/octet-stream")


def _key_of(path: Path) -> str:
    kind = _KINDS.get(sniff(head_of(path)))
    return f"{FOLDER}/{file_sha256(path)}.{kind.ending if kind else 'bin'}"


def _check_size(path: Path, name: str, settings: Settings) -> None:
    size, most = path.stat().st_size, max(settings.max_image_bytes, settings.max_video_bytes)
    if size > most:
        raise JobError("too_large", name, f"{path} has {size / 2**20:.1f} MiB; {most / 2**20:g} MiB are accepted.")


def _unreachable(local: Local, missing: list[str], is_remote: bool) -> JobError:
    name = local.ways.get("key") or local.ways["url"]
    others = {"url": "give an http(s) URL of the file", "key": "give minio:KEY of a file that is in the bucket"}
    instead = ", or ".join(words for way, words in others.items() if way in local.ways)
    where = "the endpoint" if is_remote else "the worker"
    detail = f"{local.path} is a file of this machine, and {where} gets such a file only by way of its bucket."
    if missing:
        detail += f" Missing here: {', '.join(missing)}."
    return JobError("no_store", name, detail, f"Set the MINIO_ variables of {where}'s own bucket here, or {instead}.")
