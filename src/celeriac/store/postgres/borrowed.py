"""Publishing on a connection that somebody else has: what is sent is his transaction's, to be committed or not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from psycopg import Connection as Psycopg3
from psycopg import RawCursor
from psycopg.pq import TransactionStatus

from celeriac.core.message import Published, TaskMessage
from celeriac.errors import TransactionError
from celeriac.store.postgres.session import STATEMENTS, pack
from celeriac.store.protocols import News
from celeriac.store.relational import queue

_NUMBERED = re.compile(r"\$(\d+)")


class Borrowed:
    """The store's queue as far as one transaction of somebody else's reaches.

    The statements are the store's own. They find its tables by the search path, which is set for each publish and put
    back, since the transaction's owner has tables too.
    """

    def __init__(self, store: Any, connection: object) -> None:
        self._store = store
        self._raw = dbapi_connection(connection)
        self._check()

    def publish(self, messages: Sequence[TaskMessage]) -> list[Published]:
        """Insert the messages; they are sent when, and if, the transaction commits.

        Raises:
            IdempotencyConflict: a key is held with other arguments.
            TransactionError: there is no transaction any more.
        """
        self._check_transaction()
        now = self._store.now()
        before = self._one("SELECT current_setting('search_path')", ())
        self._one("SELECT set_config('search_path', $1, true)", (f'"{self._store.database.schema}"',))
        try:
            sent = [queue.publish(self, message, now) for message in messages]
            # The commit is his, so the word is part of it.
            self._one("SELECT pg_notify($1, '')", (self._store.database.channels[News.WORK],))
        finally:
            if not self._failed():
                self._one("SELECT set_config('search_path', $1, true)", (before,))
        return sent

    def run(self, name: str, parameters: Sequence[Any] = ()) -> Any:
        """As a session's."""
        text, packed = STATEMENTS[name]
        given = list(parameters)
        for place in packed:
            given[place] = pack(given[place])
        return self._execute(text, given)

    def lock(self, key: str) -> None:
        """As a session's."""
        self.run("keys.lock", (key,))

    def _one(self, text: str, parameters: Sequence[Any]) -> Any:
        row = self._execute(text, parameters).fetchone()
        return row[0]

    def _execute(self, text: str, parameters: Sequence[Any]) -> Any:
        if isinstance(self._raw, Psycopg3):
            cursor: Any = RawCursor(self._raw)
            cursor.execute(text, parameters)
            return cursor
        # psycopg2, and whoever else writes %(name)s.
        cursor = self._raw.cursor()
        named = {f"p{number}": value for number, value in enumerate(parameters, 1)}
        cursor.execute(_NUMBERED.sub(r"%(p\1)s", text.replace("%", "%%")), named)
        return cursor

    def _failed(self) -> bool:
        info = getattr(self._raw, "info", None)
        return info is not None and int(info.transaction_status) == int(TransactionStatus.INERROR)

    def _check(self) -> None:
        self._check_transaction()
        schema = self._store.database.schema
        if self._one("SELECT to_regclass($1)::text", (f'"{schema}".fact',)) is None:
            found = None
        else:
            found = self._one(f"SELECT value FROM \"{schema}\".fact WHERE name = 'uuid'", ())  # noqa: S608  # a checked name
        if found != self._store.uuid:
            raise TransactionError(
                f"the connection leads to another database than the broker, {self._store.location}, schema {schema}. "
                "Publish after the commit instead, or keep the broker in the application's database"
            )

    def _check_transaction(self) -> None:
        info = getattr(self._raw, "info", None)
        idle = info is None or int(info.transaction_status) == int(TransactionStatus.IDLE)
        if idle and getattr(self._raw, "autocommit", False):
            raise TransactionError(
                "the connection commits by itself, and no transaction is open on it: each publish would be sent at once. "
                "Open one first"
            )


def dbapi_connection(connection: object) -> Any:
    """The driver's connection behind a SQLAlchemy session or connection, a Django alias, or itself.

    Raises:
        TransactionError: it is none of these, or has no transaction.
    """
    if isinstance(connection, str):
        return _of_django(connection)
    if hasattr(connection, "sync_session") or hasattr(connection, "sync_connection"):
        raise TransactionError(
            "an asynchronous session cannot be published on from here. Publish after its commit, or inside "
            "`await session.run_sync(...)`, with the session that is passed there"
        )
    of_session = getattr(connection, "connection", None) if hasattr(connection, "get_bind") else None
    if callable(of_session):
        connection = of_session()
    pooled = getattr(connection, "connection", None)
    raw = getattr(pooled, "dbapi_connection", None) or connection
    if not hasattr(raw, "cursor"):
        raise TransactionError(
            f"{type(connection).__name__} is no connection: pass one of psycopg's, a SQLAlchemy session or connection, "
            "or a Django alias"
        )
    return raw


def _of_django(alias: str) -> Any:
    from django.db import connections  # noqa: PLC0415  # only who names an alias has Django

    wrapper = connections[alias]
    if not wrapper.in_atomic_block:
        raise TransactionError(f"there is no transaction on {alias!r}: enter transaction.atomic() first")
    return wrapper.connection
