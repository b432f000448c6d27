"""The one place where secrets are taken out of text before it is answered or logged."""

import contextlib
import logging
import re
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TextIO

from pydantic import SecretStr

from worker.settings import Settings

HIDDEN = "***"
_MIN_LENGTH = 4
"""A shorter "secret" would blot out ordinary words and says nothing to whoever reads it."""

# The parts of a presigned or otherwise signed URL that let its holder in: S3 v4 and v2, GCS, Azure SAS, CloudFront.
_SIGNED = re.compile(
    r"(?i)\b(x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|signature|sig|policy|key-pair-id"
    r"|access_?token|api_?key|token)=[^&\s\"'<>]+"
)
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/@\s]+@")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}")


class Redactor:
    """Replaces secret values, signatures in URLs, user:password@ and bearer tokens by `***`.

    It knows its own secrets for good and those of jobs while they run (`hiding`). For use from several threads.
    """

    def __init__(self, secrets: Iterable[str] = ()):
        self._lock = threading.Lock()
        self._known = Counter(secrets)
        self._secrets: tuple[str, ...] = ()
        self._sort()

    @classmethod
    def of(cls, settings: Settings) -> "Redactor":
        """One that knows every secret of the settings."""
        values = (getattr(settings, name) for name in type(settings).model_fields)
        return cls(value.get_secret_value() for value in values if isinstance(value, SecretStr))

    @contextlib.contextmanager
    def hiding(self, secrets: Iterable[str]) -> Iterator[None]:
        """These too, as long as this is open."""
        added = Counter(secrets)
        with self._lock:
            self._known += added
            self._sort()
        try:
            yield
        finally:
            with self._lock:
                self._known -= added
                self._sort()

    def text(self, text: str) -> str:
        """The same text without secrets."""
        text = self.known(text)
        text = _SIGNED.sub(rf"\1={HIDDEN}", text)
        text = _USERINFO.sub(rf"\1{HIDDEN}@", text)
        return _BEARER.sub(rf"\1 {HIDDEN}", text)

    def known(self, text: str) -> str:
        """The same text without the secret values; what signs a URL stays, for an answer needs it."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    def deep(self, value: Any) -> Any:
        """The same for every text inside dicts and lists."""
        return _walk(value, self.text)

    def _sort(self) -> None:
        # Longest first: one secret may be a part of another.
        self._secrets = tuple(sorted((s for s in self._known if len(s) >= _MIN_LENGTH), key=len, reverse=True))


def secrets_of(job_input: Any) -> list[str]:
    """What is secret in a request as it came, whatever shape it has: the texts of `r2`, but for its two names."""
    r2 = job_input.get("r2") if isinstance(job_input, Mapping) else None
    if isinstance(r2, Mapping):
        return [str(value) for name, value in r2.items() if value and name not in ("endpoint_url", "bucket_name")]
    return [r2] if isinstance(r2, str) else []


class RedactingFilter(logging.Filter):
    """On a log handler: no record leaves it with a secret, whoever wrote it, tracebacks included."""

    def __init__(self, redact: Redactor):
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._redact.text(record.getMessage()), ()
        if record.exc_info and record.exc_info[0]:
            record.exc_text = self._redact.text("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return True


class RedactedOutput:
    """In the place of sys.stdout: what is printed loses its secrets, too (the runpod SDK prints, it does not log)."""

    def __init__(self, output: TextIO, redact: Redactor):
        self._output, self._redact = output, redact

    def write(self, text: str) -> int:
        """As a file's."""
        self._output.write(self._redact.text(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._output, name)


def _walk(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _walk(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(item, change) for item in value]
    return value
