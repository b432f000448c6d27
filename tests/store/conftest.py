"""One real S3 server (Swift) for the whole session, one bucket."""

from collections.abc import Iterator

import pytest

from demo.s3_server import S3Server
from worker.store import ObjectStore

BUCKET = "jobs"


@pytest.fixture(scope="session")
def s3(tmp_path_factory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        server.make_bucket(BUCKET)
        yield server


@pytest.fixture
def make_store(s3: S3Server):
    """A store on the session's server; keyword arguments replace single parts of it."""

    def make(**changes) -> ObjectStore:
        parts = {
            "endpoint": s3.endpoint,
            "access_key": s3.access_key,
            "secret_key": s3.secret_key,
            "bucket": BUCKET,
            "secure": False,
        }
        return ObjectStore(**{**parts, **changes})

    return make


@pytest.fixture
def store(make_store) -> ObjectStore:
    return make_store()
