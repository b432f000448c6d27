"""The one place where secrets are taken out of text before it is answered or logged."""

import logging
import re
import traceback
from collections.abc import Callable, Iterable
from typing import Any

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
    """Replaces the settings' secret values, signatures in URLs, user:password@ and bearer tokens by `***`."""

    def __init__(self, secrets: Iterable[str] = ()):
        # Longest first: one secret may be a part of another.
        self._secrets = sorted({s for s in secrets if len(s) >= _MIN_LENGTH}, key=len, reverse=True)

    @classmethod
    def of(cls, settings: Settings) -> "Redactor":
        """One that knows every secret of the settings."""
        values = (getattr(settings, name) for name in type(settings).model_fields)
        return cls(value.get_secret_value() for value in values if isinstance(value, SecretStr))

    def text(self, text: str) -> str:
        """The same text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        text = _SIGNED.sub(rf"\1={HIDDEN}", text)
        text = _USERINFO.sub(rf"\1{HIDDEN}@", text)
        return _BEARER.sub(rf"\1 {HIDDEN}", text)

    def deep(self, value: Any) -> Any:
        """The same for every text inside dicts and lists."""
        return _walk(value, self.text)


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


def _walk(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _walk(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(item, change) for item in value]
    return value
