"""Celeriac's two tables in somebody else's database, and connections of its own to that."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from celeriac.errors import SettingsError, StoreUnavailable, TransactionError
from celeriac.settings import check_written, is_postgres, is_sqlite, sqlite_url
from celeriac.store.guest import Guest, run_on
from celeriac.store.sql import script, statements
from celeriac.store.sqlite.forks import closed_at_forks

#: Seconds that connecting, or waiting for another process's transaction, may take.
PATIENCE = 5.0
#: Seconds between looks at a file.
LOOK = 0.05
#: The commands of a table.
_GROUPS = {"outbox": "outbox", "effect": "effects"}
_STATEMENTS = {dialect: statements(f"guest_{dialect}", ("outbox", "effect")) for dialect in ("sqlite", "postgres")}


def ddl(table: str, dialect: str) -> str:
    """The statements that make ``outbox`` or ``effect`` on ``postgresql`` or ``sqlite``; harmless where it is there.

    Raises:
        ValueError: another table, or another dialect.
    """
    if table not in ("outbox", "effect"):
        raise ValueError(f"there is no table {table!r}: outbox and effect are")
    if dialect not in ("postgresql", "sqlite"):
        raise ValueError(f"there is no dialect {dialect!r}: postgresql and sqlite are")
    return script(
        f"guest_{dialect.removesuffix('ql')}" if dialect == "postgresql" else "guest_sqlite", f"{table}_table"
    )


def run(guest: Guest, name: str, parameters: Sequence[Any] = ()) -> Any:
    """Run a statement of the tables' own, such as ``outbox.write``."""
    return guest.execute(_STATEMENTS[guest.dialect][name], parameters)


def check_table(guest: Guest, table: str, why: str) -> None:
    """Refuse a database that has no such table.

    Raises:
        TransactionError: saying what makes it.
    """
    check_readable(guest.raw, table, why)


def look(raw: Any, name: str, parameters: Sequence[Any] = ()) -> Any:
    """Run a statement that only reads on a driver's connection, in a transaction or not."""
    return run_on(raw, _STATEMENTS["sqlite" if isinstance(raw, sqlite3.Connection) else "postgres"][name], parameters)


def check_readable(raw: Any, table: str, why: str) -> None:
    """The same of a driver's connection.

    Raises:
        TransactionError: saying what makes it.
    """
    if not look(raw, f"{table}.exists").fetchone()[0]:
        dialect = "sqlite" if isinstance(raw, sqlite3.Connection) else "postgresql"
        command = f"celery -A … {_GROUPS[table]} sql --dialect {dialect}"
        raise TransactionError(
            f"{why} there is no table celeriac_{table} in the connection's database. `{command}` prints the statements "
            "that make it, for your migrations"
        )


class Outside:
    """A database of the application's, by its URL: ``postgresql://…`` or ``sqlite:///…``.

    Args:
        url: the database.
        setting: what named it, for errors.
        made_later: a file that is missing holds nothing yet, instead of being an error.

    Raises:
        SettingsError: the URL is of neither kind.
    """

    def __init__(self, url: str, setting: str = "celeriac_outboxes", *, made_later: bool = False) -> None:
        scheme, _, rest = url.partition("://")
        #: SQLAlchemy's way to name the driver too.
        self.url = f"{scheme.partition('+')[0]}://{rest}"
        if not is_postgres(self.url) and not is_sqlite(self.url):
            raise SettingsError(
                setting, f"{scheme}:// is no database that is known here: postgresql:// and sqlite:/// are"
            )
        self.dialect = "postgres" if is_postgres(self.url) else "sqlite"
        if self.dialect == "postgres" and find_spec("psycopg") is None:
            raise SettingsError(setting, "PostgreSQL's client is missing; pip install 'celeriac[postgres]'")
        if self.dialect == "postgres":
            check_written(self.url, setting, by_libpq=True)
        self.path = sqlite_url(self.url, setting=setting).path if self.dialect == "sqlite" else None
        self._made_later = made_later
        self._raw: Any = None
        self.lock = threading.RLock()
        closed_at_forks(self) if self.dialect == "sqlite" else _SERVERS.add(self)

    @property
    def location(self) -> str:
        """Where it is, for people: a path, or a URL without its password."""
        if self.path is not None:
            return str(self.path)
        from celeriac.store.postgres.database import shown  # noqa: PLC0415  # an extra

        return shown(self.url)

    @property
    def absent(self) -> bool:
        """Whether nobody has made the file yet."""
        return self._made_later and self.path is not None and not self.path.exists()

    @property
    def raw(self) -> Any:
        """The connection, on which each statement commits by itself; opened when needed. Hold ``lock`` to use it.

        Raises:
            StoreUnavailable: naming the database.
        """
        if self._raw is None:
            with self.translated():
                self._raw = self._connect()
        return self._raw

    def _connect(self) -> Any:
        if self.path is not None:
            if not self.path.exists():  # SQLite would make it
                raise StoreUnavailable(self.location, "there is no such file")
            return sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        import psycopg  # noqa: PLC0415  # an extra

        from celeriac.store.postgres.liveness import abandoned, configure  # noqa: PLC0415  # the same

        raw = psycopg.connect(self.url, autocommit=True, connect_timeout=round(PATIENCE), application_name="celeriac")
        # Under a stricter default of the role's, relays that take turns would be refused.
        configure(raw, default_transaction_isolation="read committed", **abandoned())
        return raw

    def run(self, name: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement of the tables' own; gives its rows.

        Raises:
            StoreUnavailable: naming the database; the next use connects again.
        """
        with self.lock, self.translated():
            cursor = run_on(self.raw, _STATEMENTS[self.dialect][name], parameters)
            return list(cursor.fetchall()) if cursor.description else [(cursor.rowcount,)]

    def run_many(self, name: str, rows: Sequence[Sequence[Any]]) -> None:
        """The same for many, in one transaction."""
        with self.lock, self.translated():
            run_on(self.raw, "BEGIN IMMEDIATE" if self.dialect == "sqlite" else "BEGIN")
            for row in rows:
                run_on(self.raw, _STATEMENTS[self.dialect][name], row)
            run_on(self.raw, "COMMIT")

    def wait(self, timeout: float) -> None:
        """Sleep until something was committed, as far as that shows, or ``timeout`` seconds have passed.

        Raises:
            StoreUnavailable: naming the database.
        """
        if self.absent:
            time.sleep(timeout)
            return
        with self.translated():
            if self.dialect == "sqlite":
                self._watch(time.monotonic() + timeout)
                return
            raw = self.raw
            raw.execute("LISTEN celeriac_outbox")
            for _ in raw.notifies(timeout=timeout, stop_after=1):
                return

    def _watch(self, until: float) -> None:
        seen = self._version()
        while time.monotonic() < until and self._version() == seen:
            time.sleep(LOOK)

    def _version(self) -> tuple[int, int]:
        """Changes with every commit of another connection."""
        with self.lock:
            return id(self.raw), self.raw.execute("PRAGMA data_version").fetchone()[0]

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise the driver's errors as a store's, and forget the connection."""
        try:
            yield
        except Exception as error:
            if not {"sqlite3", "psycopg"} & {base.__module__.partition(".")[0] for base in type(error).__mro__}:
                raise
            self.close()
            text = str(error).strip().partition("\n")[0]
            raise StoreUnavailable(self.location, text) from error

    def close(self) -> None:
        """Close the connection."""
        with self.lock:
            self.drop()

    def drop(self) -> None:
        """Close; the caller holds ``lock``."""
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close()

    def forget(self) -> None:
        """In a child: the connection to a server is the parent's, who goes on using it."""
        self.lock = threading.RLock()
        raw, self._raw = self._raw, None
        if raw is not None:
            from celeriac.store.postgres.database import leave_to_the_parent  # noqa: PLC0415  # an extra

            leave_to_the_parent(raw)


_SERVERS: weakref.WeakSet[Outside] = weakref.WeakSet()


def _after_fork() -> None:
    for outside in list(_SERVERS):
        outside.forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
