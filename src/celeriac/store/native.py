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


def start_thread(target: Callable[[], None]) -> None:
    """Run ``target`` on an OS thread that ends with the process."""
    native("_thread", "start_new_thread")(target, ())
