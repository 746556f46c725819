"""Messages: accepted, claimed under a lease, handed back, reclaimed."""

from __future__ import annotations

import json
from collections.abc import Sequence

from celeriac.core.message import (
    LAST_CHANCE,
    Delivery,
    IdempotencyKey,
    KeyHolder,
    Lease,
    Published,
    QueueSize,
    TaskMessage,
)
from celeriac.errors import IdempotencyConflict
from celeriac.store.protocols import Sending
from celeriac.store.relational import keys
from celeriac.store.relational.part import DELAYED, PARKED, READY, REMEMBERED, Part
from celeriac.store.relational.session import Session

#: More crashes than any task has.
MANY = 1 << 30


def row(message: TaskMessage, status: int, now: float) -> tuple[object, ...]:
    """The parameters of ``queue.publish``."""
    if status == READY and message.run_at is not None and message.run_at > now:
        status = DELAYED
    return (
        message.queue,
        message.priority,
        status,
        message.run_at,
        message.expires_at,
        message.task_id,
        message.name,
        message.generation,
        keys.full_key(message.key) if message.key else None,
        now,
        message.envelope,
        message.body,
    )


def told(messages: Sequence[TaskMessage], sent: set[str]) -> list[Published]:
    """What became of each, where the ids of those that were sent are known; an id is sent once."""
    found = []
    for message in messages:
        live = message.task_id is not None and message.task_id not in sent
        sent.discard(message.task_id or "")
        found.append(Published(message.task_id, live=live))
    return found


def insert(raw: Session, message: TaskMessage, status: int, now: float) -> bool:
    """Put one message into its queue; false when its task is there already."""
    if raw.run("queue.publish", row(message, status, now)).rowcount != 1:
        return False
    if message.grows is not None:
        grow(raw, message.grows, 1, now)
    return True


def grow(raw: Session, group_id: str, by: int, now: float) -> None:
    """Expect more members of a chord."""
    raw.run("ledger.chord_grow", (group_id, by, now))


def publish(raw: Session, message: TaskMessage, now: float) -> Published:
    """Insert one message, its idempotency key taken in the same transaction."""
    if message.key is None:
        sent = insert(raw, message, READY, now)
        return Published(message.task_id, live=not sent)
    return _publish_keyed(raw, message, message.key, now)


def _publish_keyed(raw: Session, message: TaskMessage, key: IdempotencyKey, now: float) -> Published:
    assert message.task_id is not None  # only tasks have keys
    found = keys.holder(raw, key, now)
    if found is None or _goes_on(found, message):
        if insert(raw, message, READY, now):
            keys.take(raw, key, message.task_id)
        return Published(message.task_id)
    if found.digest != key.digest:
        return _conflict(raw, message, key, found.task_id, now)
    if not message.awaited:
        return Published(message.task_id, duplicate_of=found.task_id)
    # Somebody waits for this id: it settles with the holder's result later.
    insert(raw, message, READY if found.done else PARKED, now)
    return Published(message.task_id)


def _goes_on(found: KeyHolder, message: TaskMessage) -> bool:
    """Whether it is the holder itself that is sent, and not what it has done already."""
    return found.task_id == message.task_id and (message.follow_up or not found.done)


def _conflict(raw: Session, message: TaskMessage, key: IdempotencyKey, holder_id: str, now: float) -> Published:
    error = IdempotencyConflict(key.task, key.value, holder_id)
    if not message.follow_up:
        raise error
    # It runs into admission, which ends it as a dead letter with its own
    # callbacks and chord told; the predecessor's settle goes on.
    insert(raw, message, READY, now)
    return Published(message.task_id)


def delivery(row: Sequence[object], claimed_at: float) -> Delivery:
    """One claimed row, as ``RETURNING`` gave it."""
    message_id, token, queue, envelope, body, task_id, generation, crashes, suspect, revoked, settled, priority = row
    return Delivery(
        Lease(message_id, token),  # type: ignore[arg-type]  # STRICT columns
        queue,  # type: ignore[arg-type]
        envelope,  # type: ignore[arg-type]
        body,  # type: ignore[arg-type]
        task_id,  # type: ignore[arg-type]
        generation,  # type: ignore[arg-type]
        crashes,  # type: ignore[arg-type]
        bool(suspect),
        bool(revoked),
        bool(settled),
        claimed_at,
        priority,  # type: ignore[arg-type]
    )


class QueuePart(Part):
    """The queue's side of the store."""

    def publish(self, messages: Sequence[TaskMessage]) -> list[Published]:
        now = self.now()
        with self.database.publishing() as raw:
            return [publish(raw, message, now) for message in messages]

    def publish_ahead(self, messages: Sequence[TaskMessage], behind: Sending | None) -> Sending | None:
        return None

    def claim(
        self,
        queues: Sequence[str],
        limit: int,
        *,
        owner: str,
        lease: float,
        idle: bool = True,
        last_chance: int = LAST_CHANCE,
    ) -> list[Delivery]:
        if not self._any_work(queues):
            return []
        with self.database.writing() as raw:
            # Not before: who had to wait for the store would be given a lease that is over.
            clock = self.lease_now()
            raw.run("queue.promote", (self.now(),))
            # Its last chance before burial is a run nobody shares, so that no bystander is ever buried.
            suspect = self._suspect(raw, queues, MANY if idle else last_chance)
            if suspect is not None:
                rows = raw.run("queue.claim_suspect", (clock + lease, owner, suspect)).fetchall()
                return [delivery(row, clock) for row in rows]
            return self._claim_ready(raw, queues, limit, clock, lease, owner)

    def _any_work(self, queues: Sequence[str]) -> bool:
        # Only a look: an idle worker never takes the write lock.
        with self.database.reading() as raw:
            found: int = raw.run("queue.work", (self.now(), json.dumps(list(queues)))).fetchone()[0]
            return bool(found)

    def _suspect(self, raw: Session, queues: Sequence[str], below: int) -> int | None:
        for queue in queues:
            row: tuple[int] | None = raw.run("queue.suspect", (queue, below)).fetchone()
            if row is not None:
                return row[0]
        return None

    def last_chances(self, queues: Sequence[str], last_chance: int = LAST_CHANCE) -> bool:
        with self.database.reading() as raw:
            return bool(raw.run("queue.last_chances", (json.dumps(list(queues)), last_chance)).fetchone()[0])

    def _claim_ready(
        self, raw: Session, queues: Sequence[str], limit: int, clock: float, lease: float, owner: str
    ) -> list[Delivery]:
        found: list[Delivery] = []
        for queue in queues:
            if len(found) >= limit:
                break
            rows = raw.run("queue.claim", (clock + lease, owner, queue, limit - len(found))).fetchall()
            # RETURNING promises no order.
            rows.sort(key=lambda row: (-row[11], row[0]))
            found.extend(delivery(row, clock) for row in rows)
        for item in found:
            item.batch = len(found)
        return found

    def extend(self, leases: Sequence[Lease], lease: float) -> list[Lease]:
        if not leases:
            return []
        held_now = json.dumps([(held.message_id, held.token) for held in leases])
        with self.database.writing() as raw:
            rows = raw.run("queue.extend", (self.lease_now() + lease, held_now)).fetchall()
        alive = set(rows)
        return [held for held in leases if (held.message_id, held.token) not in alive]

    def reject(self, lease: Lease, reason: str, error_type: str, error: str) -> None:
        now = self.now()
        row = (lease.message_id, lease.token)
        with self.database.writing() as raw:
            raw.run("queue.dead_letter_from_message", (reason, error_type, error, None, None, now, *row))
            raw.run("ledger.rejected", (now, now + REMEMBERED, *row))
            for (task_id,) in raw.run("queue.task_of", row).fetchall():
                keys.free(raw, task_id, now)
            raw.run("queue.finish", row)

    def start(self, lease: Lease) -> bool:
        with self.database.writing() as raw:
            done = raw.run("queue.start", (self.now(), lease.message_id, lease.token))
            return done.rowcount == 1

    def release(self, leases: Sequence[Lease], *, crashed: bool = False, error: str = "") -> None:
        with self.database.writing() as raw:
            for lease in leases:
                if crashed:
                    self._note_crash(raw, lease.message_id, lease.token, error)
                raw.run("queue.release", (None, int(crashed), lease.message_id, lease.token))

    def hand_back(self, leases: Sequence[Lease]) -> list[Lease]:
        with self.database.writing() as raw:
            kept = [lease for lease in leases if raw.run("queue.hand_back", lease).rowcount != 1]
            return [lease for lease in kept if raw.run("queue.held", lease).fetchone() is not None]

    def _note_crash(self, raw: Session, message_id: int, token: int, error: str) -> None:
        raw.run("ledger.attempt_crashed", (self.now(), error, message_id, token))

    def park(self, lease: Lease) -> bool:
        with self.database.writing() as raw:
            found = raw.run("queue.key_of", (lease.message_id, lease.token)).fetchone()
            if found is None:
                return False
            raw.lock(found[0])
            row = raw.run("queue.parked_key_holder", (lease.message_id, lease.token, self.now())).fetchone()
            if row is None:
                return False
            raw.run("queue.park", (lease.message_id, lease.token))
            return True

    def ack(self, leases: Sequence[Lease]) -> None:
        now = self.now()
        with self.database.writing() as raw:
            for lease in leases:
                row = (lease.message_id, lease.token)
                for task_id, keyed in raw.run("queue.finish_unsettled", row).fetchall():
                    if keyed:
                        keys.free(raw, task_id, now)

    def reclaim(self) -> int:
        total = 0
        while taken := self._reclaim_some():
            total += taken
        return total

    def _reclaim_some(self) -> int:
        with self.database.reading() as raw:
            if raw.run("queue.expired_leases", (self.lease_now(),)).fetchone() is None:
                return 0
        with self.database.writing() as raw:
            rows = raw.run("queue.expired_leases", (self.lease_now(),)).fetchall()
            for message_id, token, started_at in rows:
                # Only a task that was marked as started can have done it.
                counted = int(started_at is not None)
                if counted:
                    self._note_crash(raw, message_id, token, "its worker vanished while it ran")
                raw.run("queue.reclaim", (counted, message_id, token))
        return len(rows)

    def next_due(self) -> float | None:
        with self.database.reading() as raw:
            due: float | None = raw.run("queue.next_due").fetchone()[0]
            return due

    def size(self, queue: str) -> int:
        with self.database.reading() as raw:
            count: int = raw.run("queue.ready_count", (queue,)).fetchone()[0]
            return count

    def sizes(self) -> list[QueueSize]:
        now = self.now()
        with self.database.reading() as raw:
            rows = raw.run("queue.depths").fetchall()
        return [
            QueueSize(
                queue,
                ready,
                delayed,
                claimed,
                None if oldest is None else max(0.0, now - oldest),
                {"relayed": relayed} if relayed else {},
            )
            for queue, ready, delayed, claimed, relayed, oldest in rows
        ]

    def purge(self, queue: str) -> int:
        total = 0
        while dropped := self._purge_some(queue):
            total += dropped
        return total

    def _purge_some(self, queue: str) -> int:
        now = self.now()
        with self.database.writing() as raw:
            rows = raw.run("queue.purge_ids", (queue,)).fetchall()
            for message_id, task_id, generation, name in rows:
                raw.run("queue.delete_message", (message_id,))
                if task_id is not None:
                    keys.free(raw, task_id, now)
                    raw.run("ledger.purged", (task_id, generation, name, queue, now, now + REMEMBERED))
        return len(rows)
