"""The stand-in's websockets: one a client id, and who is not connected misses what is said."""

import contextlib
import json
import uuid
from typing import Any

from aiohttp import WSMsgType, web

FEATURES = {
    "supports_preview_metadata": True,
    "supports_model_type_tags": True,
    "max_upload_size": 100 * 2**20,
    "extension": {"manager": {"supports_v4": True}},
    "node_replacements": True,
    "assets": False,
}


class Sockets:
    """Every open websocket. `refuse`: take no new ones."""

    def __init__(self) -> None:
        self.refuse = False
        self._open: dict[str, tuple[web.WebSocketResponse, web.Request]] = {}

    async def serve(
        self, request: web.Request, queue_info: dict[str, Any], current: tuple[str | None, str | None]
    ) -> web.StreamResponse:
        """One client until it goes. `current`: (client id, node id) of what runs, told to a client that comes back."""
        if self.refuse:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sid = request.query.get("clientId") or uuid.uuid4().hex
        self._open[sid] = (socket, request)
        try:
            await self.send("status", {"status": queue_info, "sid": sid}, sid)
            if current[0] == sid and current[1] is not None:
                await self.send("executing", {"node": current[1]}, sid)
            first = True
            async for message in socket:
                if message.type is WSMsgType.TEXT and first and '"feature_flags"' in message.data:
                    await self.send("feature_flags", FEATURES, sid)
                first = False
        finally:
            if sid in self._open and self._open[sid][0] is socket:
                del self._open[sid]
        return socket

    async def send(self, event: str, data: dict[str, Any], sid: str | None = None) -> None:
        """A JSON message to one client, or to all."""
        text = json.dumps({"type": event, "data": data})
        for name, (socket, _) in list(self._open.items()):
            if sid in (None, name):
                with contextlib.suppress(ConnectionError, RuntimeError):
                    await socket.send_str(text)

    async def send_bytes(self, data: bytes, sid: str | None) -> None:
        """A binary message to one client."""
        if sid in self._open:
            with contextlib.suppress(ConnectionError, RuntimeError):
                await self._open[sid][0].send_bytes(data)

    def abort(self) -> None:
        """Break every connection, without a closing handshake."""
        for _, request in self._open.values():
            if request.transport is not None:
                request.transport.abort()
        self._open.clear()
