"""A cursor in a database of the application's, moved in the transactions that do the rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.utils.json import dumps, loads

from celeriac.core.message import Lease
from celeriac.execution.effects import scope_of
from celeriac.execution.snoozing import GiveWay
from celeriac.store.guest import Guest, dbapi_connection, of_django
from celeriac.store.tables import check_readable, look, run


class Kept:
    """One step's cursor, in the table of ``effect_once``.

    It is moved by the run that has read it, or has moved it before: of two runs at once, such as one whose worker has
    stalled and the one that took over, the first to commit goes on.
    """

    def __init__(self, task: Any, step: str, connection: object, lease: Lease) -> None:
        self._connection = connection
        self._row = (scope_of(task), f"iterate:{step}")
        #: How what this run writes begins.
        self._ours = f'{{"run": "{lease.message_id}.{lease.token}", '
        self._found = self._read(task)
        known = loads(self._found) if self._found else {}
        self.cursor, self.done = known.get("cursor"), int(known.get("done", 0))

    def _read(self, task: Any) -> str | None:
        with reading(self._connection) as raw:
            check_readable(raw, "effect", f"iterate(connection=...) of task {task.name} has nowhere to write:")
            row = look(raw, "effect.value", self._row).fetchone()
        return None if row is None else row[0]

    def save(self, cursor: Any, done: int) -> None:
        """Move it, in the open transaction.

        Raises:
            GiveWay: another run has moved it since.
            TransactionError: no transaction is open.
        """
        value = self._ours + dumps({"cursor": cursor, "done": done})[1:]
        moved = run(Guest(self._connection), "effect.move", (*self._row, value, self._found, self._ours)).rowcount
        if moved != 1:
            raise GiveWay("another run of it has come further")


@contextmanager
def reading(connection: object) -> Iterator[Any]:
    """The driver's connection, for a look; a transaction that the look has begun is ended, so that the caller begins his own."""
    if isinstance(connection, str):
        wrapper = of_django(connection)
        wrapper.ensure_connection()
        yield wrapper.connection
        return
    in_transaction = getattr(connection, "in_transaction", None)
    began = not (in_transaction() if callable(in_transaction) else _is_open(connection))
    try:
        yield dbapi_connection(connection)
    finally:
        if began and hasattr(connection, "rollback"):
            connection.rollback()


def _is_open(connection: Any) -> bool:
    """Of a driver's own connection."""
    known = getattr(connection, "in_transaction", None)  # sqlite3
    if isinstance(known, bool):
        return known
    info = getattr(connection, "info", None)
    return info is not None and int(info.transaction_status) != 0
