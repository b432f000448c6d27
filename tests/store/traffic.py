"""What the store tests share: files to send, a proxy that spoils connections, and a count of the requests."""

import os
import socket
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from worker.errors import JobError
from worker.store import ObjectStore


def random_file(folder: Path, size: int, name: str = "video.mp4") -> Path:
    path = folder / name
    path.write_bytes(os.urandom(size))
    return path


async def error_of(awaitable) -> JobError:
    with pytest.raises(JobError) as caught:
        await awaitable
    return caught.value


class CuttingProxy:
    """A TCP proxy that hangs up on the connections numbered in `cut` (from 0), each after `after` bytes
    upwards (downwards with `down`), and answers 503 SlowDown on those in `busy`."""

    def __init__(
        self,
        port: int,
        cut: set[int] | None = None,
        after: int = 100_000,
        down: bool = False,
        busy: set[int] | None = None,
    ):
        self.cut, self.busy, self.after, self.down, self.target = cut or set(), busy or set(), after, down, port
        self.connections, self.sent = 0, bytearray()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            number, self.connections = self.connections, self.connections + 1
            threading.Thread(target=self._serve, args=(client, number), daemon=True).start()

    def _serve(self, client: socket.socket, number: int) -> None:
        limit = self.after if number in self.cut else None
        with client, socket.create_connection(("127.0.0.1", self.target)) as server:
            if number in self.busy:
                client.recv(65536)
                body = b"<Error><Code>SlowDown</Code></Error>"
                head = f"HTTP/1.1 503 SlowDown\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
                client.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
                return
            back = threading.Thread(target=self._pump, args=(server, client, limit if self.down else None), daemon=True)
            back.start()
            self._pump(client, server, None if self.down else limit)
            back.join(5)

    def _pump(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        passed = 0
        try:
            while data := source.recv(65536):
                passed += len(data)
                if limit is not None:
                    self.sent += data
                    if passed > limit:
                        break
                sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@contextmanager
def counted(store: ObjectStore):
    """Every HTTP request the store's client sends, as 'METHOD path?query'."""
    requests: list[str] = []
    pool = store._client._http
    original = pool.urlopen

    def urlopen(method, url, **kwargs):
        requests.append(f"{method} {url}")
        return original(method, url, **kwargs)

    pool.urlopen = urlopen
    try:
        yield requests
    finally:
        del pool.urlopen
