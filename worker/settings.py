"""Everything the worker is told by its environment. `.env.example` documents each variable; a test says both agree.

An environment variable has the field's name in capitals. AWS_* and S3_BUCKET are read where MINIO_* is unset.
"""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class SettingsError(ValueError):
    """One or more environment variables are wrong; the text names each, without the value of a secret."""


class Settings(BaseSettings):
    """The worker's settings. Seconds and bytes where a name says so; relative paths are below the working directory."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    minio_endpoint: str = ""
    minio_access_key: SecretStr = SecretStr("")
    minio_secret_key: SecretStr = SecretStr("")
    minio_bucket: str = ""
    minio_use_ssl: bool = True
    aws_access_key_id: SecretStr = SecretStr("")
    aws_secret_access_key: SecretStr = SecretStr("")
    aws_region: str = "us-east-1"
    s3_bucket: str = ""

    model_path: Path = Path("models")
    hf_token: SecretStr = SecretStr("")
    hf_home: Path | None = None

    runpod_init_timeout: int = Field(default=1800, ge=1)
    default_operation: str = "avatar"
    default_driving_video_path: str | None = None
    use_sage_attention: bool = False

    comfyui_path: Path | None = None
    comfyui_git_url: str = "https://github.com/Comfy-Org/ComfyUI"
    comfyui_port: int = Field(default=0, ge=0, le=65535)
    comfyui_ready_timeout: float = Field(default=600, gt=0)
    work_path: Path = Path("work")

    job_timeout_s: float = Field(default=1200, gt=0)
    keep_hours: float = Field(default=24, ge=0)
    fetch_timeout_s: float = Field(default=120, gt=0)
    max_image_bytes: int = Field(default=32 * 2**20, gt=0)
    max_video_bytes: int = Field(default=2 * 2**30, gt=0)
    max_audio_bytes: int = Field(default=64 * 2**20, gt=0)
    max_audio_seconds: float = Field(default=180, gt=0)
    # Signature v4 allows a presigned link seven days at most.
    presign_seconds: int = Field(default=24 * 3600, ge=1, le=7 * 24 * 3600)
    allow_private_addresses: Annotated[list[str], NoDecode] = []

    @classmethod
    def from_env(cls) -> "Settings":
        """Read the environment. Raises SettingsError, which names every wrong variable and says what is wrong."""
        try:
            return cls()
        except ValidationError as error:
            lines = [_explain(item) for item in error.errors(include_input=False, include_url=False)]
            raise SettingsError("Wrong settings:\n  " + "\n  ".join(lines)) from None

    @model_validator(mode="before")
    @classmethod
    def _one_store(cls, values: dict[str, Any]) -> dict[str, Any]:
        """AWS_* and S3_BUCKET stand in for unset MINIO_*; `http(s)://` in front of the endpoint decides about TLS."""
        values = {name: value for name, value in values.items() if value is not None}
        endpoint = str(values.get("minio_endpoint", "")).strip().rstrip("/")
        # The two keys go as a pair: half of one account with half of another is never right.
        if not values.get("minio_access_key") and not values.get("minio_secret_key"):
            values["minio_access_key"] = values.get("aws_access_key_id", "")
            values["minio_secret_key"] = values.get("aws_secret_access_key", "")
            if values["minio_access_key"] and not endpoint:
                endpoint = f"https://s3.{values.get('aws_region') or 'us-east-1'}.amazonaws.com"
        values["minio_bucket"] = values.get("minio_bucket") or values.get("s3_bucket", "")
        scheme, found, rest = endpoint.partition("://")
        if found and scheme.lower() in ("http", "https"):
            endpoint, values["minio_use_ssl"] = rest, scheme.lower() == "https"
        values["minio_endpoint"] = endpoint
        return values

    @field_validator("minio_endpoint")
    @classmethod
    def _plain_endpoint(cls, value: str) -> str:
        if value:
            _host_port(value)
        return value

    @field_validator("allow_private_addresses", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value

    @field_validator("allow_private_addresses")
    @classmethod
    def _exact_addresses(cls, value: list[str]) -> list[str]:
        for item in value:
            if _host_port(item)[1] is None:
                raise ValueError(f"{item!r} has no port; write host:port, separated by commas")
        return value

    @field_validator("default_operation")
    @classmethod
    def _lower(cls, value: str) -> str:
        return value.strip().lower()

    def missing_for_store(self) -> list[str]:
        """Names of the variables without which there is no object store; empty when it is configured."""
        wanted = {
            "MINIO_ENDPOINT": self.minio_endpoint,
            "MINIO_ACCESS_KEY": self.minio_access_key.get_secret_value(),
            "MINIO_SECRET_KEY": self.minio_secret_key.get_secret_value(),
            "MINIO_BUCKET": self.minio_bucket,
        }
        return [name for name, value in wanted.items() if not value]

    def masked(self) -> dict[str, str]:
        """Variable name -> value as text for `--check`; a secret shows only whether it is set."""
        shown = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                shown[name.upper()] = "set (hidden)" if value.get_secret_value() else "not set"
            elif isinstance(value, list):
                shown[name.upper()] = ",".join(value) or "not set"
            else:
                shown[name.upper()] = "not set" if value in (None, "") else str(value)
        return shown


def environment_names() -> set[str]:
    """Every environment variable the settings read."""
    return {name.upper() for name in Settings.model_fields}


def _host_port(value: str) -> tuple[str, int | None]:
    """host[:port] as written in the environment -> (host, port). Raises ValueError, never with userinfo in its text."""
    if "@" in value:
        raise ValueError("no user or password in an address; the keys have variables of their own")
    parts = urlsplit(f"//{value}")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"{value!r} has a port that is no number from 0 to 65535") from None
    if not parts.hostname or parts.path or parts.query or parts.fragment or any(c.isspace() for c in value):
        raise ValueError(f"{value!r} is not host:port (before it only http:// or https://, after it no path or bucket)")
    return parts.hostname, port


def _explain(item: Any) -> str:
    """One validation error as a line that names the variable."""
    name = ".".join(str(part) for part in item["loc"][:1]).upper()
    text = item["msg"].removeprefix("Value error, ")
    return f"{name}: {text}" if name else text
