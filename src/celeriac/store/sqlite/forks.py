"""What must not be open while this process forks is closed before, and stays so until somebody uses it again."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Forked(Protocol):
    """What is closed before a fork."""

    lock: threading.RLock

    def drop(self) -> None:
        """Close; the caller holds ``lock``."""


def closed_at_forks(connection: Forked) -> None:
    """Have a connection closed whenever this process forks, while it is not in use."""
    with _REGISTRY:
        _ALL.add(connection)


_ALL: weakref.WeakSet[Forked] = weakref.WeakSet()
#: Held from the last look at ``_ALL`` until the fork is over. A connection that
#: another thread made in between would be open in the child, or hold one of
#: SQLite's own locks there, for ever.
_REGISTRY = threading.Lock()
#: Two threads may fork at the same time.
_FORKING = threading.Lock()
_held: list[Forked] = []


def _before_fork() -> None:
    _FORKING.acquire()
    while True:
        _REGISTRY.acquire()
        found = [connection for connection in _ALL if connection not in _held]
        if not found:
            return
        # Whoever uses one may be about to make another.
        _REGISTRY.release()
        for connection in found:
            connection.lock.acquire()
            _held.append(connection)
            connection.drop()


def _after_fork_in_parent() -> None:
    for connection in reversed(_held):
        connection.lock.release()
    _fork_is_over()


def _after_fork_in_child() -> None:
    for connection in _held:
        connection.lock = threading.RLock()
    _fork_is_over()


def _fork_is_over() -> None:
    _held.clear()
    _REGISTRY.release()
    _FORKING.release()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
