"""Somebody else's connection, on which celeriac is a guest: it writes in his transaction, and begins and ends nothing."""

from __future__ import annotations

import inspect
import re
import sqlite3
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from celeriac.errors import TransactionError

_NUMBERED = re.compile(r"\$(\d+)")
#: libpq's PQTransactionStatusType.
_IDLE, _INERROR = 0, 3
_BEGIN = "Open one first, with BEGIN IMMEDIATE: one that has only read cannot write once another process has written"


class Guest:
    """A connection of sqlite3, psycopg 3 or psycopg2, also behind SQLAlchemy or Django.

    Raises:
        TransactionError: it is none of these, or no transaction is open on it.
    """

    def __init__(self, connection: object) -> None:
        self.raw = dbapi_connection(connection)
        self._owner = _owner_of(connection, self.raw)
        #: Which folder of statements is in its language.
        self.dialect = "sqlite" if isinstance(self.raw, sqlite3.Connection) else "postgres"
        driver = getattr(self.raw, "driver_connection", None) or self.raw  # of an adapter of SQLAlchemy's
        if self.dialect == "postgres" and not _packages(driver) & {"psycopg", "psycopg2"}:
            raise TransactionError(_unknown(connection))
        self._check()

    def check_transaction(self) -> None:
        """Refuse a connection on which each statement would commit by itself.

        A session that has committed meanwhile has another connection, and gave this one back for others to use.

        Raises:
            TransactionError: there is no transaction, or its answers come late.
        """
        owner = self._owner()
        if owner is not None:
            self.raw = dbapi_connection(owner)
        self._check()

    def _check(self) -> None:
        if self.dialect == "sqlite":
            self._check_sqlite()
            return
        info = getattr(self.raw, "info", None)
        if getattr(info, "pipeline_status", 0):
            raise TransactionError(
                "the connection is in pipeline mode, in which it is not known what a statement did before the next ones are "
                "sent. Leave the pipeline first"
            )
        idle = info is None or int(info.transaction_status) == _IDLE
        if idle and getattr(self.raw, "autocommit", False):
            raise TransactionError(
                "the connection commits by itself, and no transaction is open on it: each publish would be sent at once. "
                "Open one first"
            )

    def _check_sqlite(self) -> None:
        if self.raw.in_transaction:
            return
        if self.raw.isolation_level is None or getattr(self.raw, "autocommit", False) is True:
            raise TransactionError(f"the connection commits by itself, and no transaction is open on it. {_BEGIN}")
        # The driver would open one before the first write, which is now; and if it is, then one that can go on to write.
        self.execute("BEGIN IMMEDIATE")

    @property
    def open(self) -> bool:
        """Whether a transaction is open on it now."""
        if self.dialect == "sqlite":
            try:
                return bool(self.raw.in_transaction)
            except sqlite3.ProgrammingError:  # closed
                return False
        info = getattr(self.raw, "info", None)
        return info is not None and int(info.transaction_status) not in (_IDLE, 4)

    @property
    def failed(self) -> bool:
        """Whether the transaction can only be rolled back any more."""
        info = getattr(self.raw, "info", None)
        return info is not None and int(info.transaction_status) == _INERROR

    def execute(self, text: str, parameters: Sequence[Any] = ()) -> Any:
        """Run a statement with ``$1`` or ``?`` in it, whichever its dialect has; rows come as tuples.

        Raises:
            TransactionError: SQLite's transaction cannot write any more.
        """
        try:
            return run_on(self.raw, text, parameters)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise TransactionError(
                f"the transaction cannot write ({error}): another process is writing, or has written since this one first "
                "read. Begin it with BEGIN IMMEDIATE, which waits for the others before anything is read"
            ) from error


def run_on(raw: Any, text: str, parameters: Sequence[Any] = ()) -> Any:
    """Run a statement on a driver's connection, whatever rows its owner wants to see; gives the cursor."""
    if isinstance(raw, sqlite3.Connection):
        cursor: Any = raw.cursor()
        cursor.row_factory = None
        return cursor.execute(text, parameters)
    if "psycopg" in _packages(raw):
        from psycopg import RawCursor  # noqa: PLC0415  # who has its connection has it
        from psycopg.rows import tuple_row  # noqa: PLC0415

        return RawCursor(raw, row_factory=tuple_row).execute(text, parameters)
    cursor = _plain_cursor(raw)
    named = {f"p{number}": value for number, value in enumerate(parameters, 1)}
    cursor.execute(_NUMBERED.sub(r"%(p\1)s", text.replace("%", "%%")), named)
    return cursor


def _plain_cursor(raw: Any) -> Any:
    if "psycopg2" not in _packages(raw):  # an adapter, in a session that was passed to run_sync()
        return raw.cursor()
    from psycopg2.extensions import cursor  # noqa: PLC0415

    return raw.cursor(cursor_factory=cursor)


def dbapi_connection(connection: object) -> Any:
    """The driver's connection behind a SQLAlchemy session or connection, a Django alias, or itself.

    Raises:
        TransactionError: it is none of these, or has no transaction.
    """
    if isinstance(connection, str):
        return _of_django(connection)
    if hasattr(connection, "sync_session") or hasattr(connection, "sync_connection"):
        raise TransactionError(
            "an asynchronous session cannot be written on from here. Do it after its commit, or inside "
            "`await session.run_sync(...)`, with the session that is passed there"
        )
    of_session = getattr(connection, "connection", None) if hasattr(connection, "get_bind") else None
    if callable(of_session):
        connection = of_session()
    pooled = getattr(connection, "connection", None)
    raw = getattr(pooled, "dbapi_connection", None) or connection
    if not hasattr(raw, "cursor"):
        raise TransactionError(_unknown(connection))
    if inspect.iscoroutinefunction(getattr(raw, "commit", None)):
        raise TransactionError("an asynchronous connection cannot be written on from here: pass one that is none")
    return raw


def _owner_of(connection: object, raw: object) -> Callable[[], object | None]:
    """What the driver's connection is to be asked of once more; a session is not kept alive for it."""
    if connection is raw:
        return lambda: None
    return (lambda: connection) if isinstance(connection, str) else weakref.ref(connection)


def _unknown(connection: object) -> str:
    return (
        f"{type(connection).__name__} is no connection that can be written on: pass one of sqlite3, psycopg or psycopg2, a "
        "SQLAlchemy session or connection on one of these, or a Django alias. asyncpg and aiosqlite are none of these: an "
        "asynchronous engine works on psycopg 3, postgresql+psycopg://"
    )


def _of_django(alias: str) -> Any:
    wrapper = of_django(alias)
    if not wrapper.in_atomic_block:
        raise TransactionError(f"there is no transaction on {alias!r}: enter transaction.atomic() first")
    return wrapper.connection


def of_django(alias: str) -> Any:
    """Django's own of this alias.

    Raises:
        TransactionError: there is none.
    """
    if "://" in alias:
        raise TransactionError(
            "a URL is not what to pass: what is written belongs to a transaction of yours, so pass the session or the "
            "connection that it is open on"
        )
    try:
        from django.db import connections  # noqa: PLC0415  # only who names an alias has Django
    except ImportError as error:
        raise TransactionError(
            f"{alias!r} is taken for a Django database's alias, and there is no Django; pass the connection itself"
        ) from error
    if alias not in connections:
        raise TransactionError(f"{alias!r} is no alias of a Django database; there are {', '.join(connections)}")
    return connections[alias]


def _packages(raw: object) -> set[str]:
    return {base.__module__.partition(".")[0] for base in type(raw).__mro__}
