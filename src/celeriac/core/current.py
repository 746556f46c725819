"""The attempt that is running in this thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celeriac.core.attempt import Attempt


class _Stack(threading.local):
    def __init__(self) -> None:
        self.attempts: list[Attempt] = []


_STACK = _Stack()


def current() -> Attempt | None:
    """The innermost attempt of this thread, if any."""
    attempts = _STACK.attempts
    return attempts[-1] if attempts else None


@contextmanager
def attempting(attempt: Attempt) -> Iterator[Attempt]:
    """Make ``attempt`` the current one of this thread."""
    _STACK.attempts.append(attempt)
    try:
        yield attempt
    finally:
        _STACK.attempts.pop()


def push(attempt: Attempt) -> None:
    """Begin to be current; the hot path's form of ``attempting``."""
    _STACK.attempts.append(attempt)


def pop() -> None:
    """Cease to be current."""
    _STACK.attempts.pop()


def goes_on(request: Any) -> None:
    """The body of a task that celeriac does not settle is over: what Celery publishes for it now comes after it."""
    request.celeriac_goes_on = True


@contextmanager
def going_on(request: Any) -> Iterator[None]:
    """The same for the length of a block."""
    request.celeriac_goes_on = True
    try:
        yield
    finally:
        request.celeriac_goes_on = False


def has_gone_on(request: Any) -> bool:
    """Whether that was said of the task of this request."""
    return bool(getattr(request, "celeriac_goes_on", False))
