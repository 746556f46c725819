"""What is published while somebody else's transaction is open, and is his to commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_OPEN: ContextVar[tuple[object, Any] | None] = ContextVar("celeriac_transaction", default=None)


@contextmanager
def publishing_within(store: object, publisher: object) -> Iterator[None]:
    """Have what this thread, or coroutine, publishes to ``store`` go through ``publisher``."""
    token = _OPEN.set((store, publisher))
    try:
        yield
    finally:
        _OPEN.reset(token)


def open_for(store: object) -> Any:
    """The publisher for messages to ``store``, if a transaction is open; otherwise None."""
    found = _OPEN.get()
    return found[1] if found is not None and found[0] is store else None
