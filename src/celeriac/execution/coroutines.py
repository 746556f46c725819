"""``async def`` tasks: one event loop a worker process, on a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from celeriac.store.native import NativeEvent, start_thread

T = TypeVar("T")


class LoopThread:
    """An event loop that outlives the tasks run on it, so that clients and pools can be kept."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop
        self.pid = os.getpid()
        self._running = NativeEvent()
        # An OS thread also under gevent, where a greenlet in this loop would stop all others.
        start_thread(self._serve)
        self._running.wait()

    def _serve(self) -> None:
        # Made here: gevent ties the loop's selector to the thread that makes it.
        self.loop = asyncio.new_event_loop()
        self._running.set()
        self.loop.run_forever()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to the end; what interrupts the wait (a soft time limit) cancels the coroutine."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
            raise


_lock = threading.Lock()
_thread: LoopThread | None = None


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on this process's loop and return what it returns."""
    global _thread  # noqa: PLW0603  # one loop a process is the point
    with _lock:
        if _thread is None or _thread.pid != os.getpid():
            _thread = LoopThread()
    return _thread.run(coroutine)


def _after_fork() -> None:
    global _lock  # noqa: PLW0603  # a lock held by a thread that the child does not have
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
