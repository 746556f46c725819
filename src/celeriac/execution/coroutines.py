"""``async def`` tasks: one event loop a worker process, on a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Any, TypeVar

from celeriac.core.attempt import Attempt
from celeriac.core.current import body_of
from celeriac.store.native import NativeEvent, start_thread

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Running:
    """Whose body a coroutine is: Celery keeps that by thread, and coroutines share one."""

    task: Any
    request: Any
    attempt: Attempt | None


_RUNNING: ContextVar[Running | None] = ContextVar("celeriac_running", default=None)


def running() -> Running | None:
    """The task whose coroutine this is, also in what that has started."""
    return _RUNNING.get()


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
        self._thread_id = threading.get_ident()
        self._running.set()
        self.loop.run_forever()

    def is_here(self) -> bool:
        """Whether the caller is on the loop's own thread, which must not wait for itself."""
        return threading.get_ident() == self._thread_id

    def run(self, coroutine: Coroutine[Any, Any, T], attempt: Attempt | None = None) -> T:
        """Run to the end; what interrupts the wait (a soft time limit) cancels the coroutine."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        if attempt is not None:
            attempt.waits_for = future  # a thread that waits is not back in Python before it has ended
        try:
            return future.result()
        except CancelledError:
            if attempt is None or attempt.deadline is None or attempt.deadline.pending is None:
                raise
            error, attempt.deadline.pending = attempt.deadline.pending, None
            raise error from None
        except BaseException:
            if not future.done():
                future.cancel()
            raise
        finally:
            if attempt is not None:
                attempt.waits_for = None


_lock = threading.Lock()
_thread: LoopThread | None = None


def run(coroutine: Coroutine[Any, Any, T], whose: Running | None = None) -> T:
    """Run a coroutine on this process's loop and return what it returns."""
    token = _RUNNING.set(whose)
    try:
        host = _host()
        with body_of(getattr(whose and whose.request, "id", None)):
            return _aside(coroutine) if host.is_here() else host.run(coroutine, whose.attempt if whose else None)
    finally:
        _RUNNING.reset(token)


def _host() -> LoopThread:
    global _thread  # noqa: PLW0603  # one loop a process is the point
    with _lock:
        if _thread is None or _thread.pid != os.getpid():
            _thread = LoopThread()
    return _thread


def _aside(coroutine: Coroutine[Any, Any, T]) -> T:
    """For an async task applied eagerly in the body of another: a loop of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, asyncio.run, coroutine).result()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603  # a lock held by a thread that the child does not have
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
