"""Stores on the session's S3 server."""

import pytest

from demo.s3_server import S3Server
from worker.store import ObjectStore


@pytest.fixture
def make_store(s3: S3Server, bucket: str):
    """A store on the session's server; keyword arguments replace single parts of it."""

    def make(**changes) -> ObjectStore:
        parts = {
            "endpoint": s3.endpoint,
            "access_key": s3.access_key,
            "secret_key": s3.secret_key,
            "bucket": bucket,
            "secure": False,
        }
        return ObjectStore(**{**parts, **changes})

    return make


@pytest.fixture
def store(make_store) -> ObjectStore:
    return make_store()
