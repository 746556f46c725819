"""A worker's own threads and its pool's forks, one at a time.

A process that is forked has none of the other threads, and all that they held: the lock of a module that one of them was
importing, as kombu does for each new connection to RabbitMQ, is held in it for ever. Whoever needs it there waits for ever too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import celeriac.store.sqlite.forks  # noqa: F401  # what is registered last runs first: nobody waits in here for its locks

#: Seconds that a fork waits at most. Who takes longer waits for a server, and holds nothing but its connection.
PATIENCE = 1.0


class _Gate:
    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.inside = self.forks = 0


_gate = _Gate()


@contextmanager
def apart_from_forks() -> Iterator[None]:
    """Begin when no fork is under way; one that is asked for meanwhile waits for the end of the block, within reason."""
    gate = _gate
    with gate.changed:
        gate.changed.wait_for(lambda: not gate.forks)
        gate.inside += 1
    try:
        yield
    finally:
        with gate.changed:
            gate.inside -= 1
            gate.changed.notify_all()


def _before_fork() -> None:
    with _gate.changed:
        _gate.forks += 1
        _gate.changed.wait_for(lambda: not _gate.inside, PATIENCE)


def _after_fork_in_parent() -> None:
    with _gate.changed:
        _gate.forks = max(0, _gate.forks - 1)
        _gate.changed.notify_all()


def _after_fork_in_child() -> None:
    global _gate  # noqa: PLW0603  # whoever was in there is not in this process
    _gate = _Gate()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
