"""A small world of its own: an S3 store, a queue, and a worker on it, on loopback. For the demo, tests and bench."""

import mimetypes
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from cli.client import EndpointClient
from demo.processes import Child, Processes
from demo.queue_server import QueueServer
from demo.s3_server import S3Server
from demo.tiny import TINY_NODES

ROOT = Path(__file__).parents[1]
BUCKET = "comfy-motion"
# On a CPU Wan-Animate's face encoder passes gigabytes through the allocator for every few frames, whatever the video's
# size. glibc gives them back and asks for them anew each time; kept, they save most of a tiny job's time.
KEEP_MEMORY = (
    "glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=68719476736:glibc.malloc.hugetlb=1"
)


class World:
    """`with World(folder, models) as world:` - store, queue and worker run; leaving it takes everything down.

    folder: where data, logs and scratch files go. models: MODEL_PATH. standin: the stand-in ComfyUI instead of the
    real one. environment: further variables of the worker. s3: a store that runs already and stays; else one of its
    own. Enter it in the main thread: it begins children that end with their thread.
    """

    def __init__(
        self,
        folder: Path,
        models: Path,
        *,
        standin: bool = False,
        environment: dict[str, str] | None = None,
        s3: S3Server | None = None,
        bucket: str = BUCKET,
    ):
        self.folder = folder.absolute()
        self.s3, self._own_s3 = s3 or S3Server(self.folder / "s3"), s3 is None
        self.bucket = bucket
        self.queue = QueueServer()
        self._environment = {"MODEL_PATH": str(models.absolute()), **(environment or {})}
        self._options = ["--standin"] if standin else ["--node-pack", str(TINY_NODES)]
        self._stack = ExitStack()
        self.worker: Child | None = None

    def __enter__(self) -> "World":
        try:
            if self._own_s3:
                self._stack.enter_context(self.s3)
            self.s3.make_bucket(self.bucket)
            self._stack.enter_context(self.queue)
            # Last in, first out: the worker ends while the queue and the store it talks to are still there.
            self.worker = self._start_worker(self._stack.enter_context(Processes()))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    @property
    def client(self) -> EndpointClient:
        """A client of the queue."""
        return EndpointClient(self.queue.endpoint, self.queue.url)

    @property
    def environment(self) -> dict[str, str]:
        """What points anybody at this store: the MINIO_* variables."""
        return self.s3.environment(self.bucket)

    @property
    def worker_log(self) -> Path:
        return self.folder / "worker.log"

    def upload(self, file: Path, key: str) -> str:
        """Puts a file into the store; the key."""
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        self.s3.client().fput_object(self.bucket, key, str(file), content_type=kind)
        return key

    def download(self, key: str, file: Path) -> Path:
        """Gets an object into a file; the file."""
        self.s3.client().fget_object(self.bucket, key, str(file))
        return file

    def keys(self, prefix: str = "") -> list[str]:
        """The keys in the store."""
        return [str(item.object_name) for item in self.s3.client().list_objects(self.bucket, prefix, recursive=True)]

    def _start_worker(self, processes: Processes) -> Child:
        environment = {
            **self.environment,
            **self.queue.worker_env(),
            "WORK_PATH": str(self.folder / "worker"),
            "PYTHONUNBUFFERED": "1",
            "GLIBC_TUNABLES": KEEP_MEMORY,
            # The worker may fetch from this world's own store by URL, and from nothing else on this machine.
            "ALLOW_PRIVATE_ADDRESSES": self.s3.endpoint,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            **self._environment,
        }
        command = [sys.executable, "-m", "demo.worker", *self._options]
        return processes.start("the worker", command, log=self.worker_log, env=environment, cwd=ROOT)
