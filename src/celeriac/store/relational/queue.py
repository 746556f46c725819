"""Messages: accepted, claimed under a lease, handed back, reclaimed."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from celeriac.core.fingerprints import fingerprint
from celeriac.core.message import (
    LAST_CHANCE,
    Delivery,
    IdempotencyKey,
    KeyHolder,
    Lease,
    Published,
    QueueSize,
    Reclaimed,
    TaskMessage,
)
from celeriac.errors import IdempotencyConflict
from celeriac.store.protocols import Sending
from celeriac.store.relational import chains, joining, keys, limits, pauses, workflows
from celeriac.store.relational.limits import Claim, LimitsPart
from celeriac.store.relational.part import DELAYED, LANED, PARKED, READY, REMEMBERED
from celeriac.store.relational.pauses import PausesPart
from celeriac.store.relational.session import Session

#: What ``sizes`` tells besides, where there is any.
EXTRA = ("relayed", "limited", "paused")
#: More crashes than any task has.
MANY = 1 << 30


def row(message: TaskMessage, status: int, now: float) -> tuple[object, ...]:
    """The parameters of ``queue.publish``."""
    if status == READY:
        status = waiting(message, now)
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
        message.limits,
    )


def waiting(message: TaskMessage, now: float) -> int:
    """Where a message waits that nothing else holds up."""
    if message.run_at is not None and message.run_at > now:
        return DELAYED
    return READY if message.limits is None else LANED


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
    if message.chains is not None:  # others may need it who are sent; what is kept for nothing is pruned
        chains.write(raw, message.chains, now)
    if raw.run("queue.publish", row(message, status, now)).rowcount != 1:
        return False
    if message.limits is not None:
        enter_lane(raw, message)
    if message.grows is not None:
        joining.grow(raw, message.grows, 1, now)
    for join in message.joins:
        joining.join(raw, join, now)
    if message.opens is not None:
        workflows.record(raw, message.opens, now)
    return True


def needs_the_chord(message: TaskMessage) -> bool:
    """Whether something is written of a chord with it, where it is sent."""
    return message.grows is not None or bool(message.joins)


def enter_lane(raw: Session, message: TaskMessage) -> None:
    """Open the lane of a message that was inserted, where no trigger does: one that is empty is forgotten again."""
    if raw.lane_by_lane:
        raw.run("limits.entered", (message.queue, message.priority, message.limits))


def go_behind(raw: Session, row: int) -> None:
    """What was handed back waits behind all that waits now: it gets the id of one that comes now."""
    raw.run("queue.go_behind", (row,))


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
    (
        message_id, token, queue, envelope, body, task_id, generation, crashes, suspect, revoked, settled, priority, limited
    ) = row  # fmt: skip
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
        limited=limited is not None,
    )


def in_order(rows: list[Any], claimed_at: float) -> list[Delivery]:
    """Claimed rows as their queue has them: ``RETURNING`` promises no order."""
    rows.sort(key=lambda row: (-row[11], row[0]))
    return [delivery(row, claimed_at) for row in rows]


def _share(in_lanes: int, ready: int | None, room: int) -> int:
    """How much of the room is first the lanes', whose highest priority is this."""
    if ready is None or in_lanes > ready:
        return room
    # Of an odd one each has the half by turns.
    return 0 if in_lanes < ready else (room + random.randint(0, 1)) // 2  # noqa: S311  # nothing secret


def _counted_together(found: list[Delivery]) -> list[Delivery]:
    for item in found:
        item.batch = len(found)
    return found


def _priority_first(item: Delivery) -> int:
    return -item.priority


class QueuePart(LimitsPart, PausesPart):
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
        below = MANY if idle else last_chance
        work, paused = self._any_work(queues)
        if paused:
            return self._claim_despite(queues, limit, owner, lease, below)
        if not work:
            return []
        with self.database.writing() as raw:
            return self._claim_in(raw, queues, limit, owner, lease, below)

    def _any_work(self, queues: Sequence[str]) -> tuple[bool, bool]:
        """Whether there is anything to claim or to wake, and whether anything is paused."""
        # Only a look: an idle worker never takes the write lock.
        with self.database.reading() as raw:
            row = raw.run("queue.work", (self.now(), json.dumps(list(queues)), self.lease_now())).fetchone()
            return bool(row[0] or row[1]), bool(row[2])

    def _claim_in(
        self, raw: Session, queues: Sequence[str], limit: int, owner: str, lease: float, below: int
    ) -> list[Delivery]:
        # Not before: who had to wait for the store would be given a lease that is over.
        clock = self.lease_now()
        now = self.now()
        claim = Claim("limits.claim", (clock + lease, owner), clock, now, self.rules)
        raw.run("queue.promote", (now,))
        # Its last chance before burial is a run nobody shares, so that no bystander is ever buried.
        suspect = self._suspect(raw, claim, queues, below)
        if suspect is not None:
            return [delivery(row, clock) for row in suspect]
        return self._claim_all(raw, claim, queues, limit)

    def _claim_despite(self, queues: Sequence[str], limit: int, owner: str, lease: float, below: int) -> list[Delivery]:
        """The same where something is paused: what is claimed of a paused task is set aside, and others are looked for."""
        paused = self.paused()
        open_queues = [queue for queue in queues if ("queue", queue) not in paused]
        swept = 1
        while swept and self._any_work(open_queues)[0]:
            with self.database.writing() as raw:
                if pauses.sweep_lanes(raw) == pauses.SLICE:
                    continue  # nobody waits long for this transaction
                found = self._claim_in(raw, open_queues, limit, owner, lease, below)
                held = pauses.set_aside(raw, [item.lease.message_id for item in found], counted=1) if found else set()
                swept = pauses.sweep(raw, open_queues) if held else 0
            if kept := [item for item in found if item.lease.message_id not in held]:
                return _counted_together(kept)
            swept += len(held)
        return []

    def _suspect(self, raw: Session, claim: Claim, queues: Sequence[str], below: int) -> list[Any] | None:
        """The row of a suspect that may run, claimed."""
        for queue in queues:
            row: tuple[int, str | None] | None = raw.run("queue.suspect", (queue, below)).fetchone()
            if row is not None and row[1] is None:
                return raw.run("queue.claim_suspect", (*claim.held, row[0])).fetchall()
            if row is not None and (found := limits.take_suspect(raw, claim, queue, below)):
                return found
        return None

    def last_chances(self, queues: Sequence[str], last_chance: int = LAST_CHANCE) -> bool:
        with self.database.reading() as raw:
            return bool(raw.run("queue.last_chances", (json.dumps(list(queues)), last_chance)).fetchone()[0])

    def _claim_all(self, raw: Session, claim: Claim, queues: Sequence[str], limit: int) -> list[Delivery]:
        found: list[Delivery] = []
        claim_from = self._claim_from if limits.to_look_at(raw, claim, queues) else self._claim_ready
        for queue in queues:
            if len(found) < limit:
                found += claim_from(raw, claim, queue, limit - len(found))
        return _counted_together(found)

    def _claim_from(self, raw: Session, claim: Claim, queue: str, room: int) -> list[Delivery]:
        """What is simply ready and what waits in lanes: of the same priority half and half."""
        in_lanes, ready = raw.run("limits.tops", (queue,)).fetchone()
        if in_lanes is None:
            return [] if ready is None else self._claim_ready(raw, claim, queue, room)
        laned = self._claim_laned(raw, claim, queue, _share(in_lanes, ready, room))
        found = (
            self._claim_ready(raw, claim, queue, room - len(laned)) if len(laned) < room and ready is not None else []
        )
        if len(laned) + len(found) < room and ready is not None:
            laned += self._claim_laned(raw, claim, queue, room - len(laned) - len(found))
        return sorted(laned + found, key=_priority_first)

    def _claim_ready(self, raw: Session, claim: Claim, queue: str, room: int) -> list[Delivery]:
        return in_order(raw.run("queue.claim", (*claim.held, queue, room)).fetchall(), claim.clock)

    def _claim_laned(self, raw: Session, claim: Claim, queue: str, room: int) -> list[Delivery]:
        return [delivery(row, claim.clock) for row in limits.take(raw, claim, queue, room)] if room else []

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
            why = (reason, error_type, error, None, None, now, fingerprint(error_type, error))
            raw.run("queue.dead_letter_from_message", (*why, *row))
            raw.run("ledger.rejected", (now, now + REMEMBERED, *row))
            raw.run("failures.rejected", (error_type, error, now, *row))
            for (task_id,) in raw.run("queue.task_of", row).fetchall():
                keys.free(raw, task_id, now)
            raw.run("queue.finish", row)

    def start(self, lease: Lease) -> bool:
        with self.database.writing() as raw:
            done = raw.run("queue.start", (self.now(), lease.message_id, lease.token))
            return done.rowcount == 1

    def release(self, leases: Sequence[Lease], *, crashed: bool = False, error: str = "") -> list[Lease]:
        with self.database.writing() as raw:
            return [lease for lease in leases if self._released(raw, lease, error if crashed else None)]

    def _released(self, raw: Session, lease: Lease, crash: str | None) -> bool:
        if crash is not None:
            self._note_crash(raw, lease.message_id, lease.token, crash)
        counted = int(crash is not None)
        return raw.run("queue.release", (None, counted, lease.message_id, lease.token)).rowcount == 1

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

    def reclaim(self) -> list[Reclaimed]:
        found: list[Reclaimed] = []
        while taken := self._reclaim_some():
            found += taken
        return found

    def _reclaim_some(self) -> list[Reclaimed]:
        with self.database.reading() as raw:
            if raw.run("queue.expired_leases", (self.lease_now(),)).fetchone() is None:
                return []
        with self.database.writing() as raw:
            rows = raw.run("queue.expired_leases", (self.lease_now(),)).fetchall()
            for message_id, token, started_at, _, _ in rows:
                # Only a task that was marked as started can have done it.
                counted = int(started_at is not None)
                if counted:
                    self._note_crash(raw, message_id, token, "its worker vanished while it ran")
                raw.run("queue.reclaim", (counted, message_id, token))
        return [Reclaimed(task_id, name, started_at is not None) for _, _, started_at, task_id, name in rows]

    def next_due(self) -> float | None:
        with self.database.reading() as raw:
            due: float | None = raw.run("queue.next_due").fetchone()[0]
            free: float | None = raw.run("limits.next_rate").fetchone()[0]
        if free is not None:
            free += self.now() - self.lease_now()
        return min((moment for moment in (due, free) if moment is not None), default=None)

    def size(self, queue: str) -> int:
        with self.database.scanning() as raw:
            count: int = raw.run("queue.ready_count", (queue,)).fetchone()[0]
            return count

    def sizes(self) -> list[QueueSize]:
        now = self.now()
        with self.database.scanning() as raw:
            rows = raw.run("queue.depths").fetchall()
        return [
            QueueSize(
                queue,
                ready,
                delayed,
                claimed,
                None if oldest is None else max(0.0, now - oldest),
                {name: count for name, count in zip(EXTRA, (relayed, limited, held), strict=True) if count},
            )
            for queue, ready, delayed, claimed, relayed, limited, held, oldest in rows
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
