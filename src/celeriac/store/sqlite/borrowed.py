"""Publishing on somebody else's connection to the store's file, in his transaction."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celeriac.core.message import Join, Published, TaskMessage
from celeriac.core.transactions import remember
from celeriac.errors import LeadsElsewhere, TransactionError
from celeriac.store.guest import Guest
from celeriac.store.relational import joining, queue
from celeriac.store.sqlite.database import STATEMENTS

#: Seconds in which an end that nothing is left of was no end: until then every record is kept.
KNOWN_FOR = 3600.0


class Borrowed:
    """The store's queue as far as one transaction of somebody else's reaches."""

    in_store = True

    def __init__(self, store: Any, guest: Guest) -> None:
        self._store = store
        self._guest = guest
        self._check()

    def publish(self, messages: Sequence[TaskMessage]) -> list[Published]:
        """Insert the messages; they are sent when, and if, the transaction commits.

        Raises:
            IdempotencyConflict: a key is held with other arguments.
            TransactionError: there is no transaction any more, or it cannot write.
        """
        self._guest.check_transaction()
        now = self._store.now()
        sent = [queue.publish(self, message, now) for message in messages]
        new = [one.task_id for one in sent if one.task_id and not one.live and one.duplicate_of is None]
        fate = _Fate(self._store, self._guest)
        for task_id in new:
            remember([task_id], fate.of(task_id))
        return sent

    def join(self, join: Join) -> None:
        """Write what a chord is joined by, with the messages of its members, which cannot have ended before the commit."""
        self._guest.check_transaction()
        joining.join(self, join, self._store.now())

    lane_by_lane = True

    def run(self, name: str, parameters: Sequence[Any] = ()) -> Any:
        """As a session's."""
        return self._guest.execute(STATEMENTS[name], parameters)

    def lock(self, key: str) -> None:
        """Whoever writes has the whole file for himself."""

    def _check(self) -> None:
        path = self._store.database.path
        for _, name, file in self._guest.execute("PRAGMA database_list").fetchall():
            if not file or not Path(file).exists() or not path.samefile(file):
                continue
            if name == "main":
                return
            raise TransactionError(
                f"the broker's file {path} is attached to the connection as {name!r}, and a commit to two files at once can "
                "be cut in half by a power cut. Open the broker's file itself, or keep the application's tables elsewhere "
                "and detach it"
            )
        raise LeadsElsewhere(f"the connection leads to another file than the broker, {path}")


class _Fate:
    """SQLite tells nobody how a transaction ended: it is seen by what is there when it is over."""

    def __init__(self, store: Any, guest: Guest, task_id: str = "") -> None:
        self._store, self._guest, self._task_id = store, guest, task_id
        self._thread, self._until = threading.get_ident(), time.monotonic() + KNOWN_FOR

    def of(self, task_id: str) -> _Fate:
        return _Fate(self._store, self._guest, task_id)

    def rolled_back(self) -> bool:
        if self._guest.open or time.monotonic() > self._until:
            return False
        return self._task_id not in self._store.records([self._task_id])

    def is_open_here(self) -> bool:
        return self._thread == threading.get_ident() and self._guest.open
