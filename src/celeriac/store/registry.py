"""The process's open stores, one a file."""

from __future__ import annotations

import os
import threading

from celeriac.settings import SQLiteURL, sqlite_url
from celeriac.store.sqlite import SQLiteStore
from celeriac.store.sqlite.database import BUSY_TIMEOUT

_OPEN: dict[str, SQLiteStore] = {}
_LOCK = threading.Lock()


def open_sqlite(url: str | SQLiteURL, *, busy_timeout: float = BUSY_TIMEOUT) -> SQLiteStore:
    """The store of a ``sqlite://`` URL; opened once, its connections lazily in each process.

    Whoever opens a file first says how long (seconds) a write waits for another process's.

    Raises:
        SettingsError: the URL is not one of ours.
        StoreError: the file cannot be used; naming it.
    """
    wanted = sqlite_url(url) if isinstance(url, str) else url
    with _LOCK:
        store = _OPEN.get(str(wanted))
        if store is None or store.replaced:  # whoever still has the old one is told so by it
            store = SQLiteStore(wanted.path, synchronous=wanted.option("synchronous"), busy_timeout=busy_timeout)
            _OPEN[str(wanted)] = store
    return store


def _after_fork() -> None:
    # Whoever held it is not in this process.
    global _LOCK  # noqa: PLW0603
    _LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
