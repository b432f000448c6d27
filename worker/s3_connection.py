"""How the store's connections behave: timeouts, a part sent again, the guard on a stranger's endpoint, what went wrong.

Below `store.py`; knows `minio`'s and `urllib3`'s errors so that nothing above has to.
"""

import socket
import ssl
from collections.abc import Collection
from typing import Any

import certifi
import urllib3
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, SSLError

from .guard import check_addresses

_PASSING = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted", "SlowDownWrite"}


def make_pool(guard_exempt: Collection[str] | None = None) -> urllib3.PoolManager:
    """Connections with timeouts; with `guard_exempt`, only to public addresses and the host:port on that list.

    A part of an upload is sent again here, without starting the whole file anew; all other retries are _retried's.
    Redirects are never followed: no store sends one that a signed request could follow.
    """
    retries = urllib3.Retry(
        **{"total": 3, "connect": 0, "redirect": 0, "other": 0, "allowed_methods": {"PUT"}},
        **{"status_forcelist": (500, 502, 503, 504), "raise_on_status": False, "raise_on_redirect": False},
        **{"backoff_factor": 0.5, "backoff_jitter": 0.5, "backoff_max": 4},
    )
    timeout = urllib3.Timeout(connect=10, read=60)
    pool = urllib3.PoolManager(timeout=timeout, retries=retries, maxsize=4, ca_certs=certifi.where())
    if guard_exempt is not None:
        exempt = guard_exempt
        http = type("GuardedHTTP", (_Guarded, HTTPConnection), {"exempt": exempt})
        https = type("GuardedHTTPS", (_Guarded, HTTPSConnection), {"exempt": exempt})
        pool.pool_classes_by_scheme = {
            "http": type("GuardedPool", (HTTPConnectionPool,), {"ConnectionCls": http}),
            "https": type("GuardedTLSPool", (HTTPSConnectionPool,), {"ConnectionCls": https}),
        }
    return pool


class _Guarded:
    """A urllib3 connection that resolves its host itself, checks every address and connects to those very ones."""

    exempt: Collection[str]
    host: str
    port: int
    timeout: Any

    def _new_conn(self) -> socket.socket:
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise NameResolutionError(self.host, self, error) from None  # type: ignore[arg-type]
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        last: OSError | None = None
        for address in check_addresses(self.host, self.port, addresses, self.exempt):
            try:
                return socket.create_connection((address, self.port), self.timeout)
            except OSError as error:
                last = error
        raise NewConnectionError(self, str(last))  # type: ignore[arg-type]


def may_pass(error: Exception) -> bool:
    """Whether trying again may help: the network, a 5xx, a store that says so. Not a certificate, not a refusal."""
    if isinstance(error, S3Error):
        return error.code in _PASSING or error.response.status >= 500
    if isinstance(error, ServerError):
        return error.status_code >= 500
    if isinstance(error, InvalidResponseError):
        return error._code >= 500
    return isinstance(error, HTTPError | ConnectionError | TimeoutError) and not isinstance(_cause(error), SSLError)


def _cause(error: Exception) -> Exception:
    """The error inside urllib3's MaxRetryError, or the error itself."""
    return getattr(error, "reason", None) or error


def describe(error: Exception) -> tuple[str, str | None]:
    """What the endpoint did, and a hint where the table's is not the best. No URL: signed ones carry secrets."""
    cause = _cause(error)
    if isinstance(error, S3Error):
        wrong_region = error.code in ("PermanentRedirect", "Redirect", "BadRequest")
        return f"answered {error.code}", "Is AWS_REGION the bucket's region?" if wrong_region else None
    if isinstance(error, InvalidResponseError):
        hint = "Is MINIO_ENDPOINT the S3 port? MinIO's console, another port, gives web pages."
        return f"answered HTTP {error._code} with something that is not S3", hint
    if isinstance(error, ServerError):
        return f"answered HTTP {error.status_code}", None
    if isinstance(cause, SSLError | ssl.SSLError):
        return "failed at TLS", "Set MINIO_USE_SSL=false for a store without TLS; else check its certificate."
    if isinstance(cause, NameResolutionError):
        return "has a host name without an address", "Check MINIO_ENDPOINT."
    if isinstance(cause, NewConnectionError):
        return f"could not be connected to ({'refused' if 'refused' in str(cause) else 'no way there'})", None
    if isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError):
        return "did not answer in time", None
    return f"ended the connection ({type(cause).__name__})", None
