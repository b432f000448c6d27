"""What all layers share: one real S3 server (Swift) for the whole run, and a bucket of its own for every test file."""

from collections.abc import Iterator

import pytest

from demo.s3_server import S3Server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def bucket(request: pytest.FixtureRequest, s3: S3Server) -> str:
    """The bucket of the test file that asks, named after it."""
    name = request.path.stem.removeprefix("test_").replace("_", "-")
    s3.make_bucket(name)
    return name
