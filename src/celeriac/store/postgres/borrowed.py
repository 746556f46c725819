"""Publishing on a connection that somebody else has: what is sent is his transaction's, to be committed or not."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from celeriac.core.message import Join, Published, TaskMessage
from celeriac.core.transactions import remember
from celeriac.errors import LeadsElsewhere, StoreError
from celeriac.store.guest import Guest
from celeriac.store.postgres.session import STATEMENTS, pack
from celeriac.store.protocols import News
from celeriac.store.relational import joining, queue


class Borrowed:
    """The store's queue as far as one transaction of somebody else's reaches.

    The statements are the store's own. They find its tables by the search path, which is set for each publish and put
    back, since the transaction's owner has tables too.
    """

    in_store = True

    def __init__(self, store: Any, guest: Guest) -> None:
        self._store = store
        self._guest = guest
        self._check()

    def publish(self, messages: Sequence[TaskMessage]) -> list[Published]:
        """Insert the messages; they are sent when, and if, the transaction commits.

        Raises:
            IdempotencyConflict: a key is held with other arguments.
            TransactionError: there is no transaction any more.
        """
        now = self._store.now()
        with self._in_its_schema():
            sent = [queue.publish(self, message, now) for message in messages]
            self._remember(sent)
        return sent

    def join(self, join: Join) -> None:
        """Write what a chord is joined by, with the messages of its members, which cannot have ended before the commit."""
        with self._in_its_schema():
            joining.join(self, join, self._store.now())

    @contextmanager
    def _in_its_schema(self) -> Iterator[None]:
        self._guest.check_transaction()
        before = self._one("SELECT current_setting('search_path')", ())
        self._one("SELECT set_config('search_path', $1, true)", (f'"{self._store.database.schema}"',))
        try:
            yield
        finally:
            if not self._guest.failed:
                self._one("SELECT set_config('search_path', $1, true)", (before,))

    def _remember(self, sent: Sequence[Published]) -> None:
        """Tell who listens, and keep what the commit can be asked by: a row's own transaction, of a savepoint too."""
        new = [one.task_id for one in sent if one.task_id and not one.live and one.duplicate_of is None]
        channel = self._store.database.channels[News.WORK]
        row = self._guest.execute(STATEMENTS["queue.written_by"][0], (channel, new[0] if new else None)).fetchone()
        if row[1] is not None:
            remember(new, _Fate(self._store, self._guest, row[1]))

    lane_by_lane = False

    def run(self, name: str, parameters: Sequence[Any] = ()) -> Any:
        """As a session's."""
        text, packed = STATEMENTS[name]
        given = list(parameters)
        for place in packed:
            given[place] = pack(given[place])
        return self._guest.execute(text, given)

    def lock(self, key: str) -> None:
        """As a session's."""
        self.run("keys.lock", (key,))

    def _one(self, text: str, parameters: Sequence[Any]) -> Any:
        row = self._guest.execute(text, parameters).fetchone()
        return row[0]

    def _check(self) -> None:
        schema = self._store.database.schema
        if self._one("SELECT to_regclass($1)::text", (f'"{schema}".fact',)) is None:
            found = None
        else:
            found = self._one(f"SELECT value FROM \"{schema}\".fact WHERE name = 'uuid'", ())  # noqa: S608  # a checked name
        if found != self._store.uuid:
            raise LeadsElsewhere(
                f"the connection leads to another database than the broker, {self._store.location}, schema {schema}"
            )


class _Fate:
    """The server knows how every transaction ended."""

    def __init__(self, store: Any, guest: Guest, transaction: int) -> None:
        self._store, self._guest, self._transaction = store, guest, transaction
        self._thread = threading.get_ident()

    def rolled_back(self) -> bool:
        try:
            return bool(self._status() == "aborted")
        except StoreError:  # so long ago that it is not known any more
            return False

    def is_open_here(self) -> bool:
        return self._thread == threading.get_ident() and self._guest.open and self._status() == "in progress"

    def _status(self) -> str | None:
        with self._store.database.reading() as session:
            row = session.run("queue.transaction_status", (self._transaction,)).fetchone()
        return None if row is None else row[0]
