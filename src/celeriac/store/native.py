"""Real OS threads and locks, also where gevent has patched them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def native(module: str, name: str) -> Any:
    """``module.name`` as it was before gevent patched it."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module, name)
    return getattr(import_module(module), name)


class NativeEvent:
    """``threading.Event`` for one waiting thread, on a lock that gevent has not patched."""

    def __init__(self) -> None:
        self._closed = native("_thread", "allocate_lock")()
        self._closed.acquire()

    def set(self) -> None:
        """Let the waiter go."""
        if self._closed.locked():
            self._closed.release()

    def clear(self) -> None:
        """Make the next wait wait."""
        self._closed.acquire(False)

    def wait(self, timeout: float = -1) -> bool:
        """Wait up to ``timeout`` seconds; true when it was set, which it stays."""
        if not self._closed.acquire(True, timeout):
            return False
        self._closed.release()
        return True


def start_thread(target: Callable[[], None]) -> None:
    """Run ``target`` on an OS thread that ends with the process."""
    native("_thread", "start_new_thread")(target, ())
