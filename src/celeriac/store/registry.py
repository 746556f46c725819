"""The process's open stores, one a file, schema or prefix."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from celeriac.errors import SettingsError
from celeriac.settings import SQLiteURL, capabilities_of, postgres_url, redis_store_url, sqlite_url
from celeriac.store.protocols import Store
from celeriac.store.sqlite import SQLiteStore
from celeriac.store.sqlite.database import BUSY_TIMEOUT

if TYPE_CHECKING:
    from celeriac.store.postgres import PostgresStore
    from celeriac.store.redis import RedisStore

#: Of the time a publish may take, how much each thing may that it may have to wait for: the server's clock, a dead
#: connection, a new one.
SHARE = 0.3


class Opened(Store, Protocol):
    """A store, and whether its place leads to another one by now."""

    @property
    def replaced(self) -> bool: ...


S = TypeVar("S", bound=Opened)
_OPEN: dict[str, Opened] = {}
_LOCK = threading.Lock()


def open_store(url: str, *, timeout: float = BUSY_TIMEOUT) -> Opened:
    """The store that a broker URL names; opened once, its connections lazily in each process.

    Whoever opens it first says how long (seconds) a write may wait.

    Raises:
        SettingsError: the URL is not one of ours, or its client is not installed.
        StoreError: it cannot be used; naming it.
    """
    scheme = capabilities_of(url).scheme
    if scheme not in _OPENERS:
        raise SettingsError("broker_url", f"{scheme}:// is no store of celeriac's: {', '.join(sorted(_OPENERS))}")
    return _OPENERS[scheme](url, timeout)


def open_sqlite(url: str | SQLiteURL, timeout: float = BUSY_TIMEOUT) -> SQLiteStore:
    """The store of a ``sqlite://`` URL."""
    wanted = sqlite_url(url) if isinstance(url, str) else url
    synchronous = wanted.option("synchronous")
    return _opened(str(wanted), lambda: SQLiteStore(wanted.path, synchronous=synchronous, busy_timeout=timeout))


def open_postgres(url: str, timeout: float = BUSY_TIMEOUT) -> PostgresStore:
    """The store of a ``postgresql://`` URL."""
    try:
        from celeriac.store.postgres import PostgresStore  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise _no_client("PostgreSQL", "postgres", error) from error
    wanted = postgres_url(url)
    return _opened(url, lambda: PostgresStore(wanted.conninfo, schema=wanted.schema, timeout=timeout * SHARE))


def open_redis(url: str, timeout: float = BUSY_TIMEOUT) -> RedisStore:
    """The store of a ``redis+streams://`` URL."""
    try:
        from celeriac.store.redis import RedisStore  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise _no_client("Redis", "redis", error) from error
    wanted = redis_store_url(url)
    return _opened(f"{wanted.server} {wanted.prefix}", lambda: RedisStore(wanted, timeout=timeout * SHARE))


_OPENERS: dict[str, Callable[[str, float], Opened]] = {
    "sqlite": open_sqlite,
    "postgresql": open_postgres,
    "redis+streams": open_redis,
}


def _opened(place: str, make: Callable[[], S]) -> S:
    with _LOCK:
        store = _OPEN.get(place)
        if store is None or store.replaced:  # whoever still has the old one is told so by it
            store = _OPEN[place] = make()
        return store  # type: ignore[return-value]  # a place has stores of one kind


@contextmanager
def standing_in(url: str, store: Opened) -> Iterator[None]:
    """While the block runs, whoever opens this ``sqlite://`` URL is given this store."""
    place = str(sqlite_url(url))
    with _LOCK:
        _OPEN[place] = store
    try:
        yield
    finally:
        with _LOCK:
            _OPEN.pop(place, None)


def _no_client(name: str, extra: str, error: ImportError) -> SettingsError:
    return SettingsError("broker_url", f"{name}'s client is missing ({error}); pip install 'celeriac[{extra}]'")


def _after_fork() -> None:
    # Whoever held it is not in this process.
    global _LOCK  # noqa: PLW0603
    _LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
