"""A network of its own for the guard's tests: not one packet leaves loopback, even if the guard is broken.

`Net` stands for the network: names are answered from its table, and every connect() is written down and led to a
server on loopback, or refused. What the guard must keep out is a server that counts who comes.
"""

import socket
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from worker.errors import JobError
from worker.guard import GuardedFetcher

PUBLIC = "93.184.215.14"
BODY = b"the file" * 1000


class Net:
    """Names and addresses of a small world; `connects` has every (address, port) anybody tried to reach."""

    def __init__(self):
        self.names: dict[str, list[list[str]]] = {
            "files.example": [[PUBLIC]],
            "other.example": [[PUBLIC]],
            "inside.example": [["10.0.0.5"]],
            "mixed.example": [[PUBLIC, "10.0.0.5"]],
            "rebind.example": [[PUBLIC], ["10.0.0.5"]],
            "localhost": [["127.0.0.1"]],
        }
        self.asked: list[str] = []
        self.connects: list[tuple[str, int]] = []
        self.to_public: dict[int, int] = {}  # port -> the loopback server's
        self.to_inside = 0

    def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        name = host.lower().rstrip(".")
        self.asked.append(name)
        if name in self.names:
            answers = self.names[name]
            addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        else:
            # Numbers in any writing, as the system reads them; never a question to a name server.
            addresses = [info[4][0] for info in _real_getaddrinfo(host, port, 0, type, 0, socket.AI_NUMERICHOST)]
        return [(socket.AF_INET6 if ":" in a else socket.AF_INET, type, 6, "", (a, port)) for a in addresses]

    def connect(self, sock: socket.socket, address) -> None:
        self.connects.append((address[0], address[1]))
        port = self.to_public.get(address[1]) if address[0] == PUBLIC else self.to_inside
        if not port or sock.family != socket.AF_INET:
            raise ConnectionRefusedError(111, "refused by the test's network")
        _real_connect(sock, ("127.0.0.1", port))


_real_getaddrinfo, _real_connect = socket.getaddrinfo, socket.socket.connect


class Canary:
    """An HTTP server that writes down every request; its answers by path."""

    def __init__(self):
        self.requests: list[web.Request] = []
        self.answers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {}
        self.connections = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        answer = self.answers.get(request.path)
        return await answer(request) if answer else web.Response(body=BODY)

    def redirect(self, path: str, location: str, status: int = 302) -> None:
        async def answer(_):
            return web.Response(status=status, headers={"Location": location, "Set-Cookie": "id=1; Path=/"})

        self.answers[path] = answer

    def server(self) -> TestServer:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        return TestServer(app, host="127.0.0.1")


async def refused(fetcher: GuardedFetcher, url: str, tmp_path, max_bytes=100_000) -> JobError:
    with pytest.raises(JobError) as error:
        await fetcher.fetch(url, tmp_path / "file", max_bytes)
    assert list(tmp_path.iterdir()) == [], "something is left behind"
    return error.value
