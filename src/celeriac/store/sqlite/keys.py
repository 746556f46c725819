"""Idempotency keys: taken in the publishing transaction, kept or freed in the settling one."""

from __future__ import annotations

import sqlite3

from celeriac.core.message import IdempotencyKey, KeyHolder
from celeriac.store.sql import queries
from celeriac.store.sqlite.base import Part

SQL = queries("sqlite", "keys")
QUEUE = queries("sqlite", "queue")


def full_key(key: IdempotencyKey) -> str:
    """A key is scoped by the task's name."""
    return f"{key.task}\x1f{key.value}"


def holder(raw: sqlite3.Connection, key: IdempotencyKey, now: float) -> KeyHolder | None:
    """Who holds the key now; neither a success whose time is over holds it, nor what will be refused when it is claimed."""
    row = raw.execute(SQL["holder"], (full_key(key), now)).fetchone()
    if row is None or (row[2] and row[3] is not None and row[3] <= now):
        return None
    return KeyHolder(row[0], row[1], bool(row[2]))


def take(raw: sqlite3.Connection, key: IdempotencyKey, task_id: str) -> None:
    """Give the key to ``task_id``."""
    raw.execute(SQL["take"], (full_key(key), task_id, key.digest, key.ttl))


def keep(raw: sqlite3.Connection, task_id: str, now: float) -> None:
    """The task succeeded: its keys stay taken for their time to live."""
    for (key,) in raw.execute(SQL["held_by"], (task_id,)).fetchall():
        raw.execute(SQL["keep"], (now, key, task_id))
        unpark(raw, key, now)


def free(raw: sqlite3.Connection, task_id: str, now: float) -> None:
    """The task is over without success: whoever waits for its keys may run."""
    for (key,) in raw.execute(SQL["held_by"], (task_id,)).fetchall():
        raw.execute(SQL["free"], (key, task_id))
        unpark(raw, key, now)


def unpark(raw: sqlite3.Connection, key: str, now: float) -> None:
    """Let the messages that wait for ``key`` go on; each finds out for itself what became of it."""
    raw.execute(QUEUE["unpark"], (now, key))


class KeysPart(Part):
    """Keys at execution."""

    def take_key(self, key: IdempotencyKey, task_id: str) -> KeyHolder:
        with self.database.writer.writing() as raw:
            found = holder(raw, key, self.now())
            if found is not None:
                return found
            # Only a task that is still to settle will let it go again.
            if raw.execute(QUEUE["waiting_message"], (task_id,)).fetchone() is not None:
                take(raw, key, task_id)
            return KeyHolder(task_id, key.digest, False)
