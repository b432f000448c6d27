"""ComfyUI's websocket, as something that may go away: it is opened again with the same client id.

The socket is for news only. Nothing here decides that a prompt is over; whoever reads this also asks
`/api/jobs/{id}` (worker/comfyui.py). A loss and a return are told, so that the truth can be asked at once.
"""

import asyncio
import logging
from enum import Enum

import aiohttp

from worker.events import EndHint, Event, read_frame

log = logging.getLogger(__name__)

# An execution_error carries the node's inputs as text, a preview is a picture: far more than aiohttp's 4 MiB.
MAX_FRAME_BYTES = 64 * 2**20
CONNECT_SECONDS = 5.0
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0)


class Silence(Enum):
    """Why there is no news."""

    QUIET = "quiet"
    LOST = "lost"
    AWAY = "away"
    BACK = "back"


class NewsSocket:
    """One prompt's socket. Not for two readers at a time."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, client_id: str, prompt_id: str):
        self._session, self._prompt_id = session, prompt_id
        self._url = f"{base_url}/ws?clientId={client_id}"
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._failures = 0

    async def connect(self, seconds: float = CONNECT_SECONDS) -> bool:
        """Open the socket if it is not open; False where that did not work within `seconds`."""
        if self._socket is not None:
            return True
        try:
            async with asyncio.timeout(max(seconds, 0.001)):
                # ComfyUI never compresses; max_msg_size counts bytes.
                self._socket = await self._session.ws_connect(self._url, max_msg_size=MAX_FRAME_BYTES, compress=0)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._failures += 1
            log.debug("no websocket to %s: %r", self._url, error)
            return False
        self._failures = 0
        return True

    async def receive(self, seconds: float) -> list[Event | EndHint] | Silence:
        """The next news. QUIET: none in `seconds`; LOST: the socket broke; AWAY: it is not there; BACK: it is again."""
        until = asyncio.get_running_loop().time() + seconds
        if self._socket is None:
            if await self.connect(min(seconds, CONNECT_SECONDS)):
                return Silence.BACK
            pause = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS)) - 1]
            await asyncio.sleep(max(0.0, min(pause, until - asyncio.get_running_loop().time())))
            return Silence.AWAY
        try:
            async with asyncio.timeout(max(seconds, 0.001)):
                message = await self._socket.receive()
        except TimeoutError:
            return Silence.QUIET
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            return read_frame(message.data, self._prompt_id)
        log.info("the websocket of prompt %s was lost (%s)", self._prompt_id, message.type.name)
        await self.close()
        return Silence.LOST

    async def close(self) -> None:
        """Close the socket without waiting for a server that may not answer any more."""
        socket, self._socket = self._socket, None
        if socket is None or socket.closed:
            return
        try:
            async with asyncio.timeout(1.0):
                await socket.close()
        except (aiohttp.ClientError, OSError, TimeoutError):
            log.debug("the websocket of prompt %s did not close in time", self._prompt_id)
