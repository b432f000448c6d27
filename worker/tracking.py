"""Where one job stands: the seconds of each stage and node, and its progress, told to whoever wants it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any

from worker.events import Cached, Event, Finished, NodeFinished, NodeProgress, NodeStarted, Text
from worker.progress import Progress, Update

log = logging.getLogger(__name__)

Send = Callable[[Update], None]
TICK_S = 0.25


class Track:
    """One job's clock and progress. `own_shares`: {stage of the worker: share of the time}."""

    def __init__(self, own_shares: Mapping[str, float], send: Send):
        self.started = time.monotonic()
        self.at = "at its very start"
        """What the job is doing, for messages."""
        self.last_node = ""
        """Title of the node that ran last."""
        self._own_shares, self._send = own_shares, send
        self._stages: dict[str, float] = {}
        self._nodes: dict[str, float] = {}
        self._running: tuple[str, float] | None = None
        self._progress = Progress(own_shares, self.started)

    def expect(self, shares: Mapping[str, float]) -> None:
        """The graph's nodes by title, and their shares of the time. Told once, before anything has been done."""
        self._progress = Progress({**self._own_shares, **shares}, self.started)

    @contextlib.contextmanager
    def stage(self, name: str, at: str, shown: str = "") -> Iterator[None]:
        """A stage of the worker's own: `name` in the timings, `at` in messages, `shown` (if any) in the progress."""
        began, self.at = time.monotonic(), at
        if shown:
            self._progress.start(shown, began)
        try:
            yield
            if shown:
                self._progress.done(shown, time.monotonic())
        finally:
            self._stages[name] = time.monotonic() - began

    def hear(self, event: Event, title_of: Callable[[str], str]) -> None:
        """One event of ComfyUI."""
        now = time.monotonic()
        match event:
            case Cached(nodes):
                self._all_done(map(title_of, nodes), now)
            case NodeStarted(node):
                self._leave(now)
                self.last_node = title_of(node)
                self._running = (self.last_node, now)
                self._progress.start(self.last_node, now)
            case NodeProgress(node, value, maximum):
                self._progress.step(title_of(node), value, maximum, now)
            case NodeFinished(node):
                self._all_done([title_of(node)], now)
            case Text(_, text):
                self._progress.text(text, now)
            case Finished():
                self._leave(now)

    def all_done(self, titles: Iterable[str]) -> None:
        """The graph is over: what ComfyUI did not tell about has been done too."""
        self._all_done(titles, time.monotonic())

    def seconds(self) -> float:
        """Since the job began."""
        return time.monotonic() - self.started

    def timings(self) -> dict[str, Any]:
        """Seconds: of each stage so far, `total`, and of each node that ran (`nodes`)."""
        self._leave(time.monotonic())
        stages = {name: round(seconds, 3) for name, seconds in self._stages.items()}
        nodes = {title: round(seconds, 3) for title, seconds in self._nodes.items()}
        return {**stages, "total": round(self.seconds(), 3), "nodes": nodes}

    @contextlib.asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send updates while this is open, as often as Progress gives one out."""
        ticker = asyncio.create_task(self._tick(), name="progress")
        try:
            yield
        finally:
            ticker.cancel()
            await asyncio.gather(ticker, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            if update := self._progress.take(time.monotonic()):
                try:
                    self._send(update)
                except Exception:  # a job is not lost because nobody could be told of it
                    log.exception("a progress update could not be sent")
            await asyncio.sleep(TICK_S)

    def _all_done(self, titles: Iterable[str], now: float) -> None:
        for title in titles:
            self._progress.done(title, now)

    def _leave(self, now: float) -> None:
        if self._running:
            title, since = self._running
            self._nodes[title] = self._nodes.get(title, 0.0) + now - since
            self._running = None
