"""The attempt that is running in this thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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


#: The id of the task whose body runs in this context, where no attempt of this thread says so.
_BODY_OF: ContextVar[str | None] = ContextVar("celeriac_body_of", default=None)


@contextmanager
def body_of(task_id: str | None) -> Iterator[None]:
    """The body of a task runs: as a coroutine, of which one thread has many, or left to Celery."""
    token = _BODY_OF.set(task_id)
    try:
        yield
    finally:
        _BODY_OF.reset(token)


def sender() -> str | None:
    """The id of the task whose body this is, if it is one's."""
    attempt = current()
    return _BODY_OF.get() if attempt is None else attempt.task_id


#: The group that is being sent, where its members are those of the chord round it, and none joins it under its own id.
_UNJOINED: ContextVar[str | None] = ContextVar("celeriac_unjoined", default=None)


@contextmanager
def unjoined(group_id: str | None) -> Iterator[None]:
    """A group is sent that nobody joins by itself."""
    token = _UNJOINED.set(group_id)
    try:
        yield
    finally:
        _UNJOINED.reset(token)


def is_unjoined(group_id: str) -> bool:
    """Whether that was said of this group."""
    return _UNJOINED.get() == group_id


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
