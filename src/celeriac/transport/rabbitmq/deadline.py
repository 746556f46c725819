"""How long the AMQP client of this thread may still wait: it would wait for ever for a broker that says nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from celeriac.errors import CeleriacError


class DeadlineExceeded(CeleriacError):
    """The time is up. No connection error, at which kombu would try again."""

    def __str__(self) -> str:
        return "the broker did not answer in time"


class _Deadline(threading.local):
    until: float | None = None
    longest: float = 0.0


_deadline = _Deadline()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let what is waited for in here end after ``seconds``, and one wait after half of them.

    After a connection that has died unnoticed there is then time for a new one.
    """
    before = _deadline.until, _deadline.longest
    if before[0] is None:
        _deadline.until, _deadline.longest = time.monotonic() + seconds, seconds / 2
    try:
        yield
    finally:
        _deadline.until, _deadline.longest = before


def bounded(timeout: float | None) -> float | None:
    """``timeout`` (seconds, None for ever), or less where a deadline asks for it.

    Raises:
        DeadlineExceeded: it has passed.
    """
    if _deadline.until is None:
        return timeout
    left = min(_deadline.until - time.monotonic(), _deadline.longest)
    if left <= 0:
        raise DeadlineExceeded
    return left if timeout is None else min(timeout, left)
