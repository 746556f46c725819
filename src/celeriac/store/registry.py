"""The process's open stores, one a file or schema."""

from __future__ import annotations

import os
import threading

from celeriac.errors import SettingsError
from celeriac.settings import SQLiteURL, is_postgres, postgres_url, sqlite_url
from celeriac.store.protocols import Store
from celeriac.store.sqlite import SQLiteStore
from celeriac.store.sqlite.database import BUSY_TIMEOUT

#: Schemes of the brokers that are stores.
STORES = frozenset({"sqlite", "postgresql"})
_OPEN: dict[str, SQLiteStore] = {}
_OPEN_SCHEMAS: dict[str, Store] = {}
_LOCK = threading.Lock()


def open_store(url: str, *, timeout: float = BUSY_TIMEOUT) -> Store:
    """The store that a broker URL names; opened once, its connections lazily in each process.

    Whoever opens it first says how long (seconds) a write may wait.

    Raises:
        SettingsError: the URL is not one of ours, or its client is not installed.
        StoreError: it cannot be used; naming it.
    """
    return open_postgres(url, timeout=timeout) if is_postgres(url) else open_sqlite(url, busy_timeout=timeout)


def open_sqlite(url: str | SQLiteURL, *, busy_timeout: float = BUSY_TIMEOUT) -> SQLiteStore:
    """The store of a ``sqlite://`` URL."""
    wanted = sqlite_url(url) if isinstance(url, str) else url
    with _LOCK:
        store = _OPEN.get(str(wanted))
        if store is None or store.replaced:  # whoever still has the old one is told so by it
            store = SQLiteStore(wanted.path, synchronous=wanted.option("synchronous"), busy_timeout=busy_timeout)
            _OPEN[str(wanted)] = store
    return store


def open_postgres(url: str, *, timeout: float) -> Store:
    """The store of a ``postgresql://`` URL."""
    try:
        from celeriac.store.postgres import PostgresStore  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise SettingsError(
            "broker_url", f"PostgreSQL's client is missing ({error}); pip install 'celeriac[postgres]'"
        ) from error
    wanted = postgres_url(url)
    with _LOCK:
        store = _OPEN_SCHEMAS.get(url)
        if store is None:
            # Of the three things a publish may have to wait for: the clock, a dead connection, a new one.
            store = PostgresStore(wanted.conninfo, schema=wanted.schema, timeout=timeout * 0.3)
            _OPEN_SCHEMAS[url] = store
    return store


def _after_fork() -> None:
    # Whoever held it is not in this process.
    global _LOCK  # noqa: PLW0603
    _LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
