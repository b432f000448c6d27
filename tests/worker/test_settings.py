"""worker/settings.py and .env.example."""

import re
import traceback
from pathlib import Path

import pytest

from worker.settings import Settings, SettingsError, environment_names

EXAMPLE = Path(__file__).parents[2] / ".env.example"


@pytest.fixture
def env(monkeypatch):
    """An environment without any of the settings' variables; calling it sets some and reads them."""
    for name in environment_names():
        monkeypatch.delenv(name, raising=False)

    def read(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Settings.from_env()

    return read


def test_the_example_names_every_setting_and_no_other():
    named = re.findall(r"^([A-Z][A-Z0-9_]*)=", EXAMPLE.read_text(), re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) == environment_names()


def test_the_example_gives_the_defaults(env):
    lines = dict(re.findall(r"^([A-Z][A-Z0-9_]*)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))
    del lines["MINIO_ENDPOINT"]  # an example, not a default
    defaults = env()
    assert env(**lines) == defaults


def test_the_contract_is_covered():
    assert environment_names() >= {
        *("MINIO_ENDPOINT", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "MINIO_BUCKET", "MINIO_USE_SSL"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "S3_BUCKET", "MODEL_PATH", "HF_TOKEN", "HF_HOME"),
        *("RUNPOD_INIT_TIMEOUT", "DEFAULT_OPERATION", "DEFAULT_DRIVING_VIDEO_PATH", "USE_SAGE_ATTENTION"),
        *("COMFYUI_READY_TIMEOUT", "COMFYUI_PATH"),
    }


@pytest.mark.parametrize(
    ("endpoint", "use_ssl", "seen"),
    [
        ("minio:9000", "false", ("minio:9000", False)),
        ("minio:9000", "", ("minio:9000", True)),
        ("http://minio:9000/", "true", ("minio:9000", False)),
        ("HTTPS://minio.example", "false", ("minio.example", True)),
        ("[::1]:9000", "no", ("[::1]:9000", False)),
    ],
)
def test_an_endpoint_with_a_scheme_decides_about_tls(env, endpoint, use_ssl, seen):
    settings = env(MINIO_ENDPOINT=endpoint, MINIO_USE_SSL=use_ssl)
    assert (settings.minio_endpoint, settings.minio_use_ssl) == seen


def test_aws_names_stand_in_for_minio_ones(env):
    settings = env(AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="hush", AWS_REGION="eu-west-1", S3_BUCKET="jobs")
    assert settings.minio_access_key.get_secret_value() == "id"
    assert settings.minio_secret_key.get_secret_value() == "hush"
    assert (settings.minio_endpoint, settings.minio_use_ssl) == ("s3.eu-west-1.amazonaws.com", True)
    assert settings.minio_bucket == "jobs"
    assert settings.missing_for_store() == []


def test_minio_names_come_first_and_keys_are_never_mixed(env):
    aws = {"AWS_ACCESS_KEY_ID": "aws-id", "AWS_SECRET_ACCESS_KEY": "aws-secret", "S3_BUCKET": "aws-bucket"}
    settings = env(**aws, MINIO_ENDPOINT="minio:9000", MINIO_ACCESS_KEY="mine", MINIO_BUCKET="jobs")
    assert settings.minio_access_key.get_secret_value() == "mine"
    assert settings.missing_for_store() == ["MINIO_SECRET_KEY"]
    assert (settings.minio_endpoint, settings.minio_bucket) == ("minio:9000", "jobs")


def test_without_a_store_every_missing_variable_is_named(env):
    assert env().missing_for_store() == ["MINIO_ENDPOINT", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "MINIO_BUCKET"]


def test_exempt_addresses_are_a_list_with_commas(env):
    assert env(ALLOW_PRIVATE_ADDRESSES="127.0.0.1:9000, [::1]:80,").allow_private_addresses == [
        "127.0.0.1:9000",
        "[::1]:80",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JOB_TIMEOUT_S", "soon"),
        ("JOB_TIMEOUT_S", "0"),
        ("MINIO_USE_SSL", "perhaps"),
        ("COMFYUI_PORT", "70000"),
        ("PRESIGN_SECONDS", "604801"),
        ("MINIO_ENDPOINT", "ftp://minio"),
        ("MINIO_ENDPOINT", "minio:port"),
        ("MINIO_ENDPOINT", "minio:9000/bucket"),
        ("MINIO_ENDPOINT", "user:hush@minio:9000"),
        ("ALLOW_PRIVATE_ADDRESSES", "127.0.0.1"),
        ("ALLOW_PRIVATE_ADDRESSES", "10.0.0.0/8"),
    ],
)
def test_a_wrong_value_names_its_variable(env, name, value):
    with pytest.raises(SettingsError) as error:
        env(**{name: value, "FETCH_TIMEOUT_S": "never"})
    assert f"{name}: " in str(error.value)
    assert "FETCH_TIMEOUT_S: " in str(error.value), "all of them are named at once"
    assert "hush" not in "".join(traceback.format_exception(error.value)), "nor in a log with the traceback"


def test_no_secret_is_shown(env):
    secrets = {
        "MINIO_ACCESS_KEY": "hush-1",
        "MINIO_SECRET_KEY": "hush-2",
        "AWS_ACCESS_KEY_ID": "hush-3",
        "AWS_SECRET_ACCESS_KEY": "hush-4",
        "HF_TOKEN": "hush-5",
    }
    settings = env(**secrets)
    shown = settings.masked()
    assert set(shown) == environment_names()
    assert all(shown[name] == "set (hidden)" for name in secrets)
    assert "hush" not in f"{shown} {settings!r} {settings}"
    assert "hush" not in settings.model_dump_json()
