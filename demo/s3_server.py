"""A real S3 server for the demo and the tests: OpenStack Swift with its S3 API, on loopback.

Signature v4, multipart, presigned links, data that survives a restart; about a second to start. Four processes
(account, container, object, proxy), Linux only, on a file system with user xattrs. For one machine and little data:
one replica, no background daemons. Production points the same MINIO_* variables at a real store.

    python -m demo.s3_server DATA PORT        # prints the MINIO_* variables, runs until Ctrl-C
"""

import argparse
import ctypes
import errno
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

_SERVERS = {"account": "swift.account.server", "container": "swift.container.server", "object": "swift.obj.server"}
_PROXY = {"proxy": "swift.proxy.server"}
_PIPELINE = (
    "catch_errors gatekeeper healthcheck listing_formats bulk s3api tempauth copy slo dlo versioned_writes symlink"
)
# In one WSGI pipeline, the filters that need more than their egg's name.
_FILTER_OPTIONS = {
    "versioned_writes": "allow_versioned_writes = true\nallow_object_versioning = true\n",
    "s3api": "location = us-east-1\ns3_acl = false\nmax_upload_part_num = 10000\n",
}


class S3ServerError(RuntimeError):
    """The server cannot run here or did not come up; the text says why and what to do."""


class S3Server:
    """`with S3Server(data_dir) as s3:` - start, wait until it answers a signed request, stop.

    port 0 takes free ports (another one after a restart, the data stay). The access key has Swift's form
    account:user, letters and digits only. The servers die with the thread that called start(): call it from one that
    lives as long as they should.
    """

    def __init__(
        self, data_dir: Path | str, port: int = 0, access_key: str = "demo:demo", secret_key: str | None = None
    ):
        if not re.fullmatch(r"[A-Za-z0-9]+:[A-Za-z0-9]+", access_key):
            raise S3ServerError(f"access key {access_key!r} must be account:user, letters and digits")
        self.data_dir = Path(data_dir).resolve()
        self.access_key, self.secret_key = access_key, secret_key or secrets.token_urlsafe(24)
        self.port, self._wanted_port = port, port
        self._processes: dict[str, subprocess.Popen] = {}

    @property
    def endpoint(self) -> str:
        """host:port, as MINIO_ENDPOINT wants it."""
        return f"127.0.0.1:{self.port}"

    def environment(self, bucket: str) -> dict[str, str]:
        """The MINIO_* variables that point the worker at this server."""
        return {
            "MINIO_ENDPOINT": self.endpoint,
            "MINIO_ACCESS_KEY": self.access_key,
            "MINIO_SECRET_KEY": self.secret_key,
            "MINIO_BUCKET": bucket,
            "MINIO_USE_SSL": "false",
        }

    def start(self, timeout: float = 60) -> "S3Server":
        """Write the configuration, start the four servers, wait until a signed request is answered.

        Raises S3ServerError: no xattrs, a port in use, or no answer within `timeout` seconds (with the log's end).
        """
        if sys.platform != "linux":
            raise S3ServerError("the demo's S3 server (Swift) runs on Linux only; set MINIO_* to a store you have")
        _require_xattrs(self.data_dir)
        deadline = time.monotonic() + timeout
        for attempt in (1, 2, 3):
            ports = _ports(self._wanted_port)
            self.port = ports["proxy"]
            self._configure(ports)
            try:
                self._launch()
                self._wait(deadline)
                return self
            except S3ServerError as error:
                self.stop()
                # A free port may be taken between asking for it and using it; a fixed one will stay taken.
                if self._wanted_port or attempt == 3 or "in use" not in str(error):
                    raise
            except BaseException:
                self.stop()
                raise
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """End the servers; the data stay. May be called twice."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes = {}

    def __enter__(self) -> "S3Server":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def make_bucket(self, name: str) -> None:
        """Make a bucket; nothing happens when it is there."""
        client = self.client()
        if not client.bucket_exists(name):
            client.make_bucket(name)

    def client(self):
        """A minio client for this server."""
        from minio import Minio

        return Minio(self.endpoint, self.access_key, self.secret_key, secure=False, region="us-east-1")

    def _configure(self, ports: dict[str, int]) -> None:
        from swift.common.ring import RingBuilder

        root = self.data_dir
        (root / "node" / "d1").mkdir(parents=True, exist_ok=True)
        (root / "log").mkdir(exist_ok=True)
        if not (root / "swift.conf").exists():
            # The hash prefix is part of every path on disk: written once, kept for good.
            _write(
                root / "swift.conf",
                f"[swift-hash]\nswift_hash_path_prefix = {secrets.token_hex(8)}\n"
                f"swift_hash_path_suffix = {secrets.token_hex(8)}\n[storage-policy:0]\nname = one\ndefault = yes\n"
                "[swift-constraints]\nmax_header_size = 32768\n",
            )
        for kind in _SERVERS:
            ring = RingBuilder(4, 1, 1)
            where = {"ip": "127.0.0.1", "port": ports[kind]}
            where |= {"replication_ip": "127.0.0.1", "replication_port": ports[kind]}
            ring.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1.0, "device": "d1", **where})
            ring.rebalance()
            ring.get_ring().save(str(root / f"{kind}.ring.gz"))
            app = f"[pipeline:main]\npipeline = {kind}-server\n[app:{kind}-server]\nuse = egg:swift#{kind}\n"
            _write(root / f"{kind}.conf", _common(root, ports[kind]) + app)
        _write(root / "proxy.conf", _common(root, ports["proxy"]) + self._proxy_pipeline())

    def _proxy_pipeline(self) -> str:
        account, user = self.access_key.split(":")
        options = {**_FILTER_OPTIONS, "tempauth": f"user_{account}_{user} = {self.secret_key} .admin\n"}
        filters = "".join(f"[filter:{f}]\nuse = egg:swift#{f}\n{options.get(f, '')}" for f in _PIPELINE.split())
        return (
            f"[pipeline:main]\npipeline = {_PIPELINE} proxy-server\n{filters}"
            "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\nallow_account_management = true\n"
        )

    def _launch(self) -> None:
        for kind in (*_SERVERS, *_PROXY):
            with open(self.data_dir / "log" / f"{kind}.log", "wb") as log:
                command = [sys.executable, __file__, "--child", str(os.getpid()), kind, f"{self.data_dir}/{kind}.conf"]
                self._processes[kind] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )

    def _wait(self, deadline: float) -> None:
        import urllib3
        from minio.error import MinioException

        client = self.client()
        client._http = urllib3.PoolManager(timeout=5, retries=False)
        seen = ""
        while time.monotonic() < deadline:
            for kind, process in self._processes.items():
                if process.poll() is not None:
                    raise S3ServerError(f"Swift's {kind} server ended at once: {self._log_end(kind)}")
            try:
                client.list_buckets()
                return
            except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
                seen = str(error)
                code = getattr(error, "code", "")
                if code in ("SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied"):
                    raise S3ServerError(f"port {self.port} is answered by another server ({code})") from None
            time.sleep(0.1)
        logs = "; ".join(f"{kind}: {self._log_end(kind)}" for kind in self._processes)
        raise S3ServerError(f"the S3 server did not answer a signed request ({seen}). Logs: {logs}")

    def _log_end(self, kind: str) -> str:
        text = (self.data_dir / "log" / f"{kind}.log").read_text(errors="replace").strip()
        if os.strerror(errno.EADDRINUSE).lower() in text.lower():
            return "its port is in use; choose another port"
        return " | ".join(text.splitlines()[-5:]) or "nothing was logged"


def _common(root: Path, port: int) -> str:
    return (
        f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\nworkers = 0\nswift_dir = {root}\n"
        f"devices = {root}/node\nmount_check = false\nlog_level = WARNING\n"
    )


def _write(path: Path, text: str) -> None:
    """Configuration holds the secret key: nobody else reads it."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _ports(wanted: int) -> dict[str, int]:
    """A port for the proxy (the wanted one, if any) and free ones for the others, all held open until all are known."""
    sockets = []
    try:
        for port in (wanted, 0, 0, 0):
            sock = socket.socket()
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
        return dict(zip(("proxy", *_SERVERS), (sock.getsockname()[1] for sock in sockets), strict=True))
    except OSError as error:
        raise S3ServerError(f"port {wanted} is in use or not allowed ({error.strerror}); choose another") from None
    finally:
        for sock in sockets:
            sock.close()


def _require_xattrs(folder: Path) -> None:
    """Swift keeps an object's metadata in user xattrs, which tmpfs of older kernels and many network disks lack."""
    probe = folder / f".xattr-{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        os.setxattr(probe, "user.swift.metadata", b"x" * 1024)
    except OSError as error:
        no_xattrs = error.errno in (errno.ENOTSUP, errno.ENOSPC, errno.E2BIG)
        why = "its file system has no user xattrs" if no_xattrs else "it cannot be written"
        raise S3ServerError(
            f"the demo's S3 server cannot keep data in {folder}: {why} ({error.strerror}); choose a folder of your own "
            "on ext4, xfs or btrfs"
        ) from None
    finally:
        with suppress(OSError):
            probe.unlink()


def _child(parent: int, kind: str, config: str) -> None:
    """Be one of Swift's servers, and die with the parent."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        return  # the parent ended before prctl could tell
    # This file's folder is not the child's to import from.
    sys.path.pop(0)
    from swift.common import wsgi

    # Swift would change to the user named in its configuration; it stays whoever it is, also a user without a name.
    wsgi.drop_privileges = lambda user: None
    sys.argv = [f"swift-{kind}-server", config, "-v"]
    sys.exit(import_module({**_SERVERS, **_PROXY}[kind]).main())


def main() -> None:
    parser = argparse.ArgumentParser(description="A real S3 server on loopback (Swift), for the demo and the tests.")
    parser.add_argument("data", type=Path, help="folder for the data; kept")
    parser.add_argument("port", type=int, nargs="?", default=0, help="default: a free one")
    parser.add_argument("--access-key", default="demo:demo", help="account:user")
    parser.add_argument("--secret-key", help="default: a new one at every start")
    parser.add_argument("--bucket", default="demo")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with S3Server(args.data, args.port, args.access_key, args.secret_key) as server:
            server.make_bucket(args.bucket)
            print("\n".join(f"{k}={v}" for k, v in server.environment(args.bucket).items()), flush=True)
            with suppress(KeyboardInterrupt):
                while all(process.poll() is None for process in server._processes.values()):
                    time.sleep(1)
                sys.exit("one of the S3 servers ended; see the folder log/ in the data folder")
    except S3ServerError as error:
        sys.exit(f"s3_server: {error}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(int(sys.argv[2]), sys.argv[3], sys.argv[4])
    else:
        main()
