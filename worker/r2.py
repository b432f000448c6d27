"""The store that a request brings with it (`r2`): for that job alone, at an address that a stranger chose."""

import threading
from collections.abc import Callable, Collection, Mapping
from itertools import islice
from typing import TypeVar

from minio.error import S3Error

from .errors import JobError
from .guard import parse_url
from .s3_connection import make_pool
from .store import ObjectStore

T = TypeVar("T")

_BLAME = {
    "address_refused": ("endpoint_url", "`r2.endpoint_url` must be a public address of the internet."),
    "bucket_not_found": ("bucket_name", "Create the bucket, or correct `r2.bucket_name`."),
    "store_denied": (
        "secret_access_key",
        "Check `r2.access_key_id` and `r2.secret_access_key`, and whether they may write into the bucket.",
    ),
    "store_unavailable": (
        "endpoint_url",
        "Check `r2.endpoint_url` (https or http, host, port), and whether the store is up; then send the job again.",
    ),
    "invalid_value": ("bucket_name", "Correct `r2.bucket_name`."),
}
"""Code -> the part of `r2` to look at, and what to do: the table's hints name the worker's own variables."""


class RequestStore(ObjectStore):
    """Reaches public addresses only: each connection resolves the endpoint, checks every address and uses those."""

    @classmethod
    def from_r2(cls, r2: Mapping[str, str], exempt: Collection[str] = ()) -> "RequestStore":
        """{endpoint_url, access_key_id, secret_access_key, bucket_name}; `exempt`: host:port let through unchecked.

        Nothing is sent yet. Raises JobError missing_field, address_refused, invalid_value.
        """
        for name in ("endpoint_url", "access_key_id", "secret_access_key", "bucket_name"):
            if not r2.get(name):
                raise JobError("missing_field", field=f"r2.{name}")
        try:
            target = parse_url(r2["endpoint_url"])
        except JobError as error:
            raise _blamed(error) from None
        if target.url.path not in ("", "/") or target.url.query_string:
            detail = "It has a path; the bucket's name goes into bucket_name."
            raise JobError("invalid_value", "r2.endpoint_url", detail, "Send only https://host of the store.")
        host = f"[{target.host}]" if ":" in target.host else target.host
        return cls(
            f"{host}:{target.port}",
            r2["access_key_id"],
            r2["secret_access_key"],
            r2["bucket_name"],
            secure=target.scheme == "https",
            pool=make_pool(exempt),
        )

    async def check(self, key: str) -> None:
        """Ask once whether it is there and takes these keys, before time is spent on what goes into it under `key`.

        Raises JobError address_refused, bucket_not_found, store_denied, store_unavailable, invalid_value.
        """
        await self._call(lambda stop: self._look(key), key)

    def _look(self, key: str) -> None:
        try:
            # Not HEAD: its answers have no body, and so no word about which of the keys is wrong.
            list(islice(self._client.list_objects(self.bucket, prefix=key), 1))
        except S3Error as error:
            # A user who may write need not be allowed to list.
            if error.code not in ("AccessDenied", "AllAccessDisabled"):
                raise

    def _retried(self, work: Callable[[threading.Event], T], key: str, stop: threading.Event) -> T:
        try:
            return super()._retried(work, key, stop)
        except JobError as error:
            raise _blamed(error) from None


def _blamed(error: JobError) -> JobError:
    """The error laid at the door of the request's own field."""
    if error.code in _BLAME:
        part, hint = _BLAME[error.code]
        error.field, error.hint = error.field or f"r2.{part}", hint
    return error
