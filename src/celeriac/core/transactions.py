"""What is published while somebody else's transaction is open, and is his to commit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

#: Publishes of which this process remembers the transaction.
REMEMBERED = 10_000


class _Block:
    """What is published to a store goes through a publisher, for as long as the block lasts."""

    def __init__(self, store: object, publisher: Any, outer: _Block | None) -> None:
        self.store, self.publisher, self.outer = store, publisher, outer
        self.over = False


_OPEN: ContextVar[_Block | None] = ContextVar("celeriac_transaction", default=None)


@contextmanager
def publishing_within(store: object, publisher: object) -> Iterator[None]:
    """Have what this thread, or coroutine, publishes to ``store`` go through ``publisher``."""
    block = _Block(store, publisher, _OPEN.get())
    token = _OPEN.set(block)
    try:
        yield
    finally:
        block.over = True  # a coroutine or thread that was begun inside has a copy of the context, and may go on
        _OPEN.reset(token)


def _blocks() -> Iterator[_Block]:
    """Those that this thread, or coroutine, is in, the innermost first."""
    block = _OPEN.get()
    while block is not None:
        if not block.over:
            yield block
        block = block.outer


def open_for(store: object) -> Any:
    """The publisher for messages to ``store``, if a transaction is open; otherwise None."""
    return next((block.publisher for block in _blocks() if block.store is store), None)


def any_open() -> bool:
    """Whether what is published now may be somebody's to commit."""
    return next(_blocks(), None) is not None


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
