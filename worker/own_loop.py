"""An event loop in a thread of its own, for everything that lives as long as the worker.

The runpod SDK runs its checks and its job loop in two event loops, one after the other, and gives the handler the
second one. ComfyUI's watcher, the client's connections and the jobs belong together in one loop that is there
before the first job and after the last: this one. Jobs are handed over from the SDK's loop with `run`.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class OwnLoop:
    """`with OwnLoop() as loop:`; `loop.wait(coroutine)` from plain code, `await loop.run(coroutine)` from a loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="worker loop", daemon=True)

    def __enter__(self) -> "OwnLoop":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.wait(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it there and wait for its result, blocking; Ctrl-C cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it there, from another loop. Cancelled here, it is cancelled there, and its clean-up is waited for."""
        result: Future[T] = Future()
        started: list[asyncio.Task[T]] = []
        self._loop.call_soon_threadsafe(lambda: started.append(self._start(work, result)))
        over = asyncio.wrap_future(result)
        try:
            return await asyncio.shield(over)
        except asyncio.CancelledError:
            if not over.done():
                # After the call above, however early the cancel came: the loop takes calls in their order.
                self._loop.call_soon_threadsafe(lambda: started[0].cancel())
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([over])
            raise

    def _start(self, work: Coroutine[Any, Any, T], result: "Future[T]") -> "asyncio.Task[T]":
        task = self._loop.create_task(work)
        task.add_done_callback(lambda done: _copy(done, result))
        return task

    async def _cancel_all(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _copy(task: "asyncio.Task[T]", result: "Future[T]") -> None:
    if task.cancelled():
        result.cancel()
    elif error := task.exception():
        result.set_exception(error)
    else:
        result.set_result(task.result())
