"""The object store: MinIO, R2, S3 or any other that speaks signature v4.

The `minio` client works in threads, with a connection pool of our own. Every operation is retried on network errors
and 5xx answers, backing off with jitter. Errors name the endpoint, the bucket and the key; never a credential.
"""

import asyncio
import random
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar
from urllib.parse import parse_qs, urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from .errors import JobError
from .filetype import file_sha256
from .s3_connection import describe, make_pool, may_pass
from .settings import Settings

T = TypeVar("T")

_CHUNK_BYTES = 1024 * 1024
_ATTEMPTS = 4
_DENIED = {
    *("AccessDenied", "AllAccessDisabled", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"),
    *("InvalidToken", "RequestTimeTooSkewed", "AuthorizationHeaderMalformed", "Forbidden", "Unauthorized"),
}
_MISSING_KEY = {"NoSuchKey", "NoSuchObject", "ResourceNotFound", "NoSuchVersion"}


class Stat(NamedTuple):
    """An object as the store describes it: bytes, MIME type, and the sha256 our own put() left (else None)."""

    size: int
    content_type: str
    sha256: str | None


class ObjectStore:
    """One bucket of one store. Safe to use from several tasks at once."""

    def __init__(
        self,
        endpoint: str,
        access_key: str,
        secret_key: str,
        bucket: str,
        *,
        secure: bool = True,
        region: str = "us-east-1",
        part_bytes: int = 16 * 2**20,
        pool: urllib3.PoolManager | None = None,
    ):
        self.endpoint, self.bucket, self._part_bytes = endpoint, bucket, part_bytes
        pool = pool or make_pool()
        # With a region given, the client never asks for the bucket's: one request less, and one right less needed.
        self._client = Minio(endpoint, access_key, secret_key, secure=secure, region=region, http_client=pool)

    @classmethod
    def from_settings(cls, settings: Settings) -> "ObjectStore":
        """The worker's own store. Raises JobError no_store, naming the variables that are missing."""
        missing = settings.missing_for_store()
        if missing:
            raise JobError("no_store", detail=f"Missing: {', '.join(missing)}.")
        return cls(
            settings.minio_endpoint,
            settings.minio_access_key.get_secret_value(),
            settings.minio_secret_key.get_secret_value(),
            settings.minio_bucket,
            secure=settings.minio_use_ssl,
            region=settings.aws_region,
        )

    async def stat(self, key: str) -> Stat:
        """Raises JobError object_not_found, bucket_not_found, store_denied, store_unavailable."""
        return await self._call(lambda stop: self._stat(key, stop), key)

    async def get(self, key: str, path: Path, max_bytes: int | None = None) -> int:
        """Stream an object into a file, whole or not at all; returns its bytes.

        Raises JobError as stat does, and too_large - before the first byte where the store says the size.
        """
        return await self._call(lambda stop: self._get(key, path, max_bytes, stop), key)

    async def put(self, path: Path, key: str, content_type: str = "video/mp4") -> str:
        """Upload a file in parts; returns its sha256. Nothing is sent when the same bytes are there already.

        Raises JobError bucket_not_found, store_denied, store_unavailable.
        """
        return await self._call(lambda stop: self._put(path, key, content_type, stop), key)

    async def presign(self, key: str, seconds: int) -> str:
        """A link that gives the object to whoever has it, for so many seconds. Made here; the store is not asked."""
        make = self._client.presigned_get_object
        return await self._call(lambda stop: make(self.bucket, key, expires=timedelta(seconds=seconds)), key)

    async def delete(self, key: str) -> None:
        """Remove an object; nothing happens when there is none."""
        await self._call(lambda stop: self._client.remove_object(self.bucket, key), key)

    async def _call(self, work: Callable[[threading.Event], T], key: str) -> T:
        """Run blocking work in a thread, retried, its errors as JobErrors. A cancelled caller stops the transfer."""
        stop = threading.Event()
        future = asyncio.ensure_future(asyncio.to_thread(self._retried, work, key, stop))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            stop.set()
            # A thread cannot be killed: give it the moment it needs to see `stop` and to put away its partial file.
            await asyncio.wait([future], timeout=5)
            if future.done() and not future.cancelled():
                future.exception()
            raise

    def _retried(self, work: Callable[[threading.Event], T], key: str, stop: threading.Event) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return work(stop)
            except (MinioException, HTTPError, ssl.SSLError, ConnectionError, TimeoutError, ValueError) as error:
                if attempt == _ATTEMPTS or not may_pass(error) or stop.is_set():
                    raise self._explain(error, key) from None
            # Waits 0.5, 1, 2 seconds, each up to half as long again, so that many workers do not come back at once.
            stop.wait(0.5 * 2 ** (attempt - 1) * random.uniform(1, 1.5))
        raise AssertionError("unreachable")

    def _stat(self, key: str, stop: threading.Event) -> Stat:
        found = self._client.stat_object(self.bucket, key)
        metadata = {name.lower(): value for name, value in (found.metadata or {}).items()}
        return Stat(found.size or 0, found.content_type or "", metadata.get("x-amz-meta-sha256"))

    def _get(self, key: str, path: Path, max_bytes: int | None, stop: threading.Event) -> int:
        part = path.with_name(path.name + ".part")
        response = self._client.get_object(self.bucket, key)
        try:
            limit = float("inf") if max_bytes is None else max_bytes
            said = int(response.headers.get("Content-Length") or 0)
            if said > limit:
                raise JobError("too_large", detail=f"{key} has {said} bytes; at most {max_bytes} are accepted.")
            size = 0
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                for chunk in response.stream(_CHUNK_BYTES, decode_content=False):
                    size += len(chunk)
                    if size > limit:
                        raise JobError("too_large", detail=f"{key} goes on after the {max_bytes} bytes accepted.")
                    if stop.is_set():
                        raise JobError("cancelled")
                    file.write(chunk)
            part.replace(path)
            return size
        finally:
            response.close()
            response.release_conn()
            part.unlink(missing_ok=True)

    def _put(self, path: Path, key: str, content_type: str, stop: threading.Event) -> str:
        size, sha256 = path.stat().st_size, file_sha256(path)
        if self._has(key, size, sha256, stop):
            return sha256
        with path.open("rb") as file:
            self._client.put_object(
                self.bucket,
                key,
                _Stoppable(file, stop),  # type: ignore[arg-type]
                size,
                content_type=content_type,
                metadata={"sha256": sha256},
                part_size=self._part_bytes,
                # One part in memory at a time, and no threads of minio's that outlive a failed upload.
                num_parallel_uploads=1,
            )
        return sha256

    def _has(self, key: str, size: int, sha256: str, stop: threading.Event) -> bool:
        """Whether these very bytes are there: a job that is run again, or an upload whose answer was lost."""
        try:
            found = self._stat(key, stop)
        except S3Error as error:
            # Some stores deny HEAD to a user who may only write; then it is simply written again.
            if error.code in _MISSING_KEY | {"NoSuchBucket", "AccessDenied"}:
                return False
            raise
        return (found.size, found.sha256) == (size, sha256)

    def _explain(self, error: Exception, key: str) -> JobError:
        """The error as one of the table's. Text of the store's answer is used only where it holds no secret."""
        code = getattr(error, "code", "") or ""
        where = f"{key!r} in bucket {self.bucket!r} at {self.endpoint}"
        if isinstance(error, S3Error) and code in _MISSING_KEY and self._bucket_there():
            return JobError("object_not_found", detail=f"Looked for {where}.")
        if code == "NoSuchBucket" or code in _MISSING_KEY:
            return JobError("bucket_not_found", detail=f"Looked for bucket {self.bucket!r} at {self.endpoint}.")
        if code in _DENIED:
            clock = "Set this machine's clock." if code == "RequestTimeTooSkewed" else None
            return JobError("store_denied", detail=f"It answered {code} for {where}.", hint=clock)
        if isinstance(error, ValueError) and not isinstance(error, MinioException):
            return JobError("invalid_value", detail=f"No store takes this bucket name or key: {where}.")
        detail, hint = describe(error)
        return JobError("store_unavailable", detail=f"{self.endpoint} {detail}.", hint=hint)

    def _bucket_there(self) -> bool:
        """Stores answer 404 without a body to HEAD: only asking for the bucket tells which of the two is missing."""
        try:
            return self._client.bucket_exists(self.bucket)
        except (MinioException, HTTPError):
            return True


def expires_at(presigned_url: str) -> str:
    """When a presigned link of signature v4 stops to work: ISO 8601, UTC. Raises KeyError for any other URL."""
    query = parse_qs(urlsplit(presigned_url).query)
    signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return (signed + timedelta(seconds=int(query["X-Amz-Expires"][0]))).isoformat(timespec="seconds")


class _Stoppable:
    """A file whose next read fails once `stop` is set, so that a cancelled upload ends between two parts."""

    def __init__(self, file: BinaryIO, stop: threading.Event):
        self._file, self._stop = file, stop

    def read(self, size: int = -1) -> bytes:
        if self._stop.is_set():
            raise JobError("cancelled")
        return self._file.read(size)
