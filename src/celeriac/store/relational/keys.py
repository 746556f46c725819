"""Idempotency keys: taken in the publishing transaction, kept or freed in the settling one."""

from __future__ import annotations

from celeriac.core.message import IdempotencyKey, KeyHolder
from celeriac.store.relational.part import Part
from celeriac.store.relational.session import Session


def full_key(key: IdempotencyKey) -> str:
    """A key is scoped by the task's name."""
    return f"{key.task}\x1f{key.value}"


def holder(raw: Session, key: IdempotencyKey, now: float) -> KeyHolder | None:
    """Who holds the key now; neither a success whose time is over holds it, nor what will be refused when it is claimed."""
    raw.lock(full_key(key))
    row = raw.run("keys.holder", (full_key(key), now)).fetchone()
    if row is None or (row[2] and row[3] is not None and row[3] <= now):
        return None
    return KeyHolder(row[0], row[1], bool(row[2]))


def take(raw: Session, key: IdempotencyKey, task_id: str) -> None:
    """Give the key to ``task_id``."""
    raw.run("keys.take", (full_key(key), task_id, key.digest, key.ttl))


def keep(raw: Session, task_id: str, now: float) -> None:
    """The task succeeded: its keys stay taken for their time to live."""
    for (key,) in raw.run("keys.held_by", (task_id,)).fetchall():
        raw.lock(key)
        raw.run("keys.keep", (now, key, task_id))
        unpark(raw, key, now)


def free(raw: Session, task_id: str, now: float) -> None:
    """The task is over without success: whoever waits for its keys may run."""
    for (key,) in raw.run("keys.held_by", (task_id,)).fetchall():
        raw.lock(key)
        raw.run("keys.free", (key, task_id))
        unpark(raw, key, now)


def unpark(raw: Session, key: str, now: float) -> None:
    """Let the messages that wait for ``key`` go on; each finds out for itself what became of it."""
    raw.run("queue.unpark", (now, key))


class KeysPart(Part):
    """Keys at execution."""

    def take_key(self, key: IdempotencyKey, task_id: str) -> KeyHolder:
        with self.database.writing() as raw:
            found = holder(raw, key, self.now())
            if found is not None:
                return found
            # Only a task that is still to settle will let it go again.
            if raw.run("queue.waiting_message", (task_id,)).fetchone() is not None:
                take(raw, key, task_id)
            return KeyHolder(task_id, key.digest, False)
