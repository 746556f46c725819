"""Time limits where tasks run in the worker's own process, which Celery leaves alone there.

A prefork pool's parent sees to the limits of its processes. In the other pools a thread of the system's watches what runs. The
soft limit is raised in the body: in a thread as soon as it is back in Python, in the main thread by a signal, in a greenlet
where it yields. At the hard limit the task is settled from here, whatever its body does, which then settles nothing any
more; it is interrupted in the same way, and where that is in vain the slot stays taken until it ends.
"""

from __future__ import annotations

import ctypes
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from celeriac.core.attempt import Attempt
from celeriac.core.current import current
from celeriac.execution.limits import Limits
from celeriac.store.native import NativeEvent, native, start_thread

logger = logging.getLogger(__name__)

Kind = Literal["solo", "thread", "gevent"]
#: Seconds between looks while something runs; and those after a hard limit by which an interrupted body has ended.
LOOK, STUCK = 0.1, 5.0
#: Seconds after which the watcher of a worker that runs nothing ends; the next run starts another.
IDLE = 5.0
#: Seconds that the watcher waits for a body that is just ending.
_PATIENCE = 1.0


def _lock() -> Any:
    """One that gevent, which may patch locks later, has not patched."""
    return native("_thread", "allocate_lock")()


@dataclass(slots=True, eq=False)
class Watched:
    """One run, its limits, and what it has been told."""

    attempt: Attempt
    limits: Limits
    thread: int
    began: float
    #: Settles it as one that has passed its hard limit.
    settle: Callable[[float], None]
    lock: Any = field(default_factory=_lock)
    softly: bool = False
    hardly: bool = False
    stuck: bool = False
    #: To be raised in the body, and not known to have been.
    pending: type[Exception] | None = None
    timer: Any = None

    @property
    def in_body(self) -> bool:
        return self.attempt.entered and not self.attempt.over

    def passed(self, limit: float | None, now: float, slack: float = 0.0) -> bool:
        return bool(limit) and now - self.began >= (limit or 0.0) + slack


class Deadlines:
    """Watches the runs of one worker.

    Args:
        kind: of the pool.
        on_stuck: called where the worker's only thread has not ended by ``STUCK`` seconds after its hard limit.
    """

    def __init__(self, kind: Kind, on_stuck: Callable[[], None]) -> None:
        self._kind, self._on_stuck = kind, on_stuck
        self._running: dict[int, Watched] = {}
        self._lock = _lock()
        self._watching = False
        self._by_signal = kind == "solo" and self._listen()

    def _listen(self) -> bool:
        with suppress(ValueError):  # an embedded worker is not in the main thread
            signal.signal(signal.SIGALRM, self._on_signal)
            return True
        return False

    # -- in the task's thread

    def watch(self, attempt: Attempt, limits: Limits, settle: Callable[[float], None]) -> Watched:
        """Begin with a run whose body this thread, or greenlet, enters next."""
        watched = Watched(attempt, limits, native("_thread", "get_ident")(), time.monotonic(), settle)
        attempt.deadline = watched
        self._running[id(watched)] = watched
        if self._kind == "gevent":
            self._set_timer(watched)
        else:
            self._look_on()
        return watched

    def end(self, watched: Watched) -> None:
        """The run is over."""
        self._running.pop(id(watched), None)
        if watched.timer is not None:
            watched.timer.close()

    def _look_on(self) -> None:
        if self._watching:
            return  # the watcher, before it ends, looks once more
        with self._lock:
            if not self._watching:
                self._watching = True
                start_thread(self._watch)

    # -- in a greenlet

    def _set_timer(self, watched: Watched) -> None:
        """Celery itself sees to the hard limit there."""
        soft = watched.limits[1]
        if soft:
            gevent = sys.modules["gevent"]
            watched.timer = gevent.get_hub().loop.timer(soft)
            watched.timer.start(_throw, gevent.getcurrent(), watched)

    # -- in the main thread

    def _on_signal(self, *_: object) -> None:
        attempt = current()
        watched = attempt.deadline if attempt is not None else None
        if watched is not None and watched.pending is not None and watched.in_body:
            error, watched.pending = watched.pending, None
            raise error

    # -- in the watcher's

    def _watch(self) -> None:
        pause, idle = NativeEvent(), 0.0
        while idle < IDLE or not self._over():
            pause.wait(LOOK)
            idle = 0.0 if self._running else idle + LOOK
            for watched in list(self._running.values()):
                try:
                    self._look_at(watched, time.monotonic())
                except Exception:
                    logger.exception("a time limit of task %s could not be enforced", watched.attempt.task_id)

    def _over(self) -> bool:
        with self._lock:
            self._watching = bool(self._running)
            return not self._watching

    def _look_at(self, watched: Watched, now: float) -> None:
        hard, soft = watched.limits
        if not watched.softly and watched.passed(soft, now):
            watched.softly = True
            self._interrupt(watched, SoftTimeLimitExceeded)
        if not watched.hardly and watched.passed(hard, now) and watched.in_body:
            watched.hardly = True
            watched.settle(hard or 0.0)
            self._interrupt(watched, TimeLimitExceeded)
        if watched.hardly and not watched.stuck and watched.passed(hard, now, STUCK) and watched.in_body:
            watched.stuck = True
            self._give_up(watched)

    def _interrupt(self, watched: Watched, error: type[Exception]) -> None:
        """Raise it in the body, if that runs still."""
        if not watched.lock.acquire(True, _PATIENCE):
            return
        try:
            if not watched.in_body:
                return
            watched.pending = error
            if (
                self._is_main(watched) and signal.getsignal(signal.SIGALRM) == self._on_signal
            ):  # a body may use it itself
                signal.pthread_kill(watched.thread, signal.SIGALRM)
            elif watched.attempt.waits_for is not None:
                watched.attempt.waits_for.cancel()
            else:
                _raise_in(watched.thread, error)
        finally:
            watched.lock.release()

    def _is_main(self, watched: Watched) -> bool:
        """Whether it is the worker's one thread, and the program's: an embedded worker ends nobody's program."""
        return self._by_signal and watched.thread == threading.main_thread().ident

    def _give_up(self, watched: Watched) -> None:
        logger.error(
            "task %s[%s] cannot be interrupted %.0f s after its hard time limit, and is over for the ledger: %s",
            watched.attempt.name,
            watched.attempt.task_id,
            STUCK,
            "this worker, which has nothing else to run it in, ends"
            if self._is_main(watched)
            else "its thread is taken until it ends; give what it waits for a time-out",
        )
        if self._is_main(watched):
            self._on_stuck()


def body_over(attempt: Attempt) -> None:
    """What was to be raised in the body, and has not been yet, must not be raised in what comes after it."""
    watched: Watched | None = attempt.deadline
    if watched is None:
        attempt.over = True
        return
    with watched.lock:
        attempt.over = True
        if watched.pending is not None:
            watched.pending = None
            _raise_in(watched.thread, None)


def _raise_in(thread: int, error: type[Exception] | None) -> None:
    """Have a thread raise this when it is back in Python; None takes back what it has not raised yet."""
    raised = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)


def _throw(greenlet: Any, watched: Watched) -> None:
    """In the hub: the greenlet has yielded."""
    if watched.in_body:
        greenlet.throw(SoftTimeLimitExceeded)
