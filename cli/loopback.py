"""Files of this machine for the worker of this process: a tiny HTTP server that nobody else can reach or guess.

It listens on 127.0.0.1 alone, gives only the files it was told to, each below a random word of 256 bits, and is gone
with the job. In the job's own event loop: no thread of its own to be ended.
"""

import asyncio
import contextlib
import re
import secrets
from pathlib import Path
from urllib.parse import quote

_CHUNK_BYTES = 256 * 1024
_HEAD_SECONDS = 10.0
"""So long a client may take to say what it wants."""
_NO_REQUEST = (asyncio.IncompleteReadError, asyncio.LimitOverrunError)
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


class Loopback:
    """`async with Loopback() as loopback: url = loopback.offer(path)`."""

    def __init__(self) -> None:
        self._files: dict[str, Path] = {}
        self._clients: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "Loopback":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def address(self) -> str:
        """host:port, as ALLOW_PRIVATE_ADDRESSES has it."""
        assert self._server
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    def offer(self, path: Path) -> str:
        """The URL that gives this file from now on."""
        target = f"/{secrets.token_urlsafe(32)}/{quote(path.name, safe='')}"
        self._files[target] = path
        return f"http://{self.address}{target}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request of one connection."""
        task = asyncio.current_task()
        assert task
        self._clients.add(task)
        try:
            # Cancelled only by our own end; asyncio's streams log a cancelled client as a fault.
            with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError, *_NO_REQUEST):
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_SECONDS)
                await self._answer(head, writer)
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        found = re.match(rb"([A-Z]+) (\S+) HTTP/1\.[01]\r\n", head)
        method, target = (found[1].decode(), found[2].decode("latin-1")) if found else ("", "")
        path = self._files.get(target)
        if not found or not path or method not in ("GET", "HEAD"):
            writer.write(_head(400 if not found else 404 if not path else 405, 0))
            await writer.drain()
            return
        with path.open("rb") as file:
            left = path.stat().st_size
            writer.write(_head(200, left))
            # What was announced and no more, should the file grow meanwhile; one that shrinks ends too early.
            while method == "GET" and left and (chunk := file.read(min(left, _CHUNK_BYTES))):
                left -= len(chunk)
                writer.write(chunk)
                await writer.drain()
        await writer.drain()


def _head(status: int, size: int) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {_REASONS[status]}",
        "Content-Type: application/octet-stream",
        f"Content-Length: {size}",
        "Connection: close",
        *(["Allow: GET, HEAD"] if status == 405 else []),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
