"""What is published while somebody else's transaction is open, and is his to commit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

_OPEN: ContextVar[tuple[object, Any] | None] = ContextVar("celeriac_transaction", default=None)

#: Publishes of which this process remembers the transaction.
REMEMBERED = 10_000


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


def any_open() -> bool:
    """Whether what is published now may be somebody's to commit."""
    return _OPEN.get() is not None


class Fate(Protocol):
    """What became, or will become, of a transaction in which something was published."""

    def rolled_back(self) -> bool:
        """Whether it is over, and left nothing; false where that is not known."""

    def is_open_here(self) -> bool:
        """Whether it is this thread that has still to commit it."""


class _Fates:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Fate] = OrderedDict()

    def remember(self, task_ids: Iterable[str], fate: Fate) -> None:
        with self._lock:
            for task_id in task_ids:
                self._known[task_id] = fate
                self._known.move_to_end(task_id)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)

    def forget(self, task_id: str) -> None:
        with self._lock:
            self._known.pop(task_id, None)

    def of(self, task_id: str) -> Fate | None:
        return self._known.get(task_id)


_FATES = _Fates()
remember, forget, fate_of = _FATES.remember, _FATES.forget, _FATES.of
