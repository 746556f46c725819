"""The ledger beside a broker that is no store: messages adopted from there, and relayed to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import attrgetter

from celeriac.core.message import LAST_CHANCE, Adoption, Delivery, Lease, TaskMessage
from celeriac.core.pauses import names
from celeriac.store.relational import keys, limits, pauses
from celeriac.store.relational.limits import Claim, LimitsPart
from celeriac.store.relational.part import CLAIMED, READY
from celeriac.store.relational.queue import MANY, delivery, enter_lane, waiting
from celeriac.store.relational.session import Session


class OutboxPart(LimitsPart):
    """The broker's side of the ledger."""

    def adopt(
        self,
        messages: Sequence[TaskMessage],
        *,
        owner: str,
        lease: float,
        idle: bool = True,
        last_chance: int = LAST_CHANCE,
    ) -> list[Delivery | Adoption]:
        with self.database.writing() as raw:
            now, clock = (
                self.now(),
                self.lease_now(),
            )  # not before: the store may have had it wait for longer than a lease
            below = MANY if idle else last_chance
            answers: dict[int, Delivery | Adoption] = {}
            # In one order: of two that adopt copies of the same tasks, each would wait for a row of the other's.
            for place in sorted(range(len(messages)), key=lambda place: messages[place].task_id or ""):
                message = messages[place]
                answers[place] = _insert(raw, message, now, clock, lease, owner) or _take_over(
                    raw, message, clock, lease, owner, below
                )
            return _without_paused(raw, [answers[place] for place in range(len(messages))])

    def take_for_relay(self, limit: int, lease: float) -> list[Delivery]:
        now, clock = self.now(), self.lease_now()
        with self.database.reading() as raw:
            # Only a look: who has nothing to relay never takes the write lock.
            if not raw.run("queue.outbox_work", (now, clock)).fetchone()[0]:
                return []
        with self.database.writing() as raw:
            clock = self.lease_now()
            raw.run("queue.promote", (now,))
            claim = Claim("limits.relay", (clock + lease,), clock, now, self.rules)
            paused = bool(names(pauses.read(raw), "task"))
            if paused:
                pauses.sweep_lanes(raw)
            rows = limits.take_anywhere(raw, claim, (limit + 1) // 2)
            rows += raw.run("queue.take_for_relay", (clock + lease, clock, limit - len(rows))).fetchall()
            held = pauses.set_aside(raw, [row[0] for row in rows], counted=0) if paused else set()
            if held:
                pauses.sweep(raw, {row[2] for row in rows})
        found = [delivery(row, clock) for row in rows if row[0] not in held]
        found.sort(key=attrgetter("lease.message_id"))
        return found

    def relayed(self, leases: Sequence[Lease], again: float) -> None:
        if not leases:
            return
        given = json.dumps([(lease.message_id, lease.token) for lease in leases])
        with self.database.writing() as raw:
            raw.run("queue.relayed", (self.lease_now() + again, given))

    def relay_again(self, queue: str, missing: float, again: float) -> int:
        with self.database.writing() as raw:
            clock, now = self.lease_now(), self.now()
            return raw.run("queue.relay_again", (queue, clock, missing, again, now)).rowcount


def _insert(
    raw: Session, message: TaskMessage, now: float, clock: float, lease: float, owner: str
) -> Delivery | Adoption | None:
    """Make it a row; None where its task has one."""
    status = waiting(message, now)
    waits = status != READY
    held = (0, None, None) if waits else (1, clock + lease, owner)
    rows = raw.run(
        "queue.adopt",
        (
            message.queue,
            message.priority,
            status if waits else CLAIMED,
            message.run_at,
            message.expires_at,
            message.task_id,
            message.name,
            keys.full_key(message.key) if message.key else None,
            now,
            message.envelope,
            message.body,
            *held,
            message.limits,
        ),
    ).fetchall()
    if not rows:
        return None
    if message.limits is not None:
        enter_lane(raw, message)
    [(message_id, generation)] = rows
    revoked, settled = raw.run("queue.adopted", (message.task_id,)).fetchone()
    if settled:
        raw.run("queue.delete_message", (message_id,))
        return Adoption.SETTLED
    if waits:
        return Adoption.DELAYED
    return _held(message, Lease(message_id, 1), generation, bool(revoked), clock)


def _without_paused(raw: Session, answers: list[Delivery | Adoption]) -> list[Delivery | Adoption]:
    """Those of paused tasks wait in the ledger."""
    taken = [answer.lease.message_id for answer in answers if isinstance(answer, Delivery)]
    held = pauses.set_aside(raw, taken, counted=1) if taken and raw.run("pauses.paused").fetchone() else set()
    return [
        Adoption.DELAYED if isinstance(answer, Delivery) and answer.lease.message_id in held else answer
        for answer in answers
    ]


def _held(message: TaskMessage, lease: Lease, generation: int, revoked: bool, clock: float) -> Delivery:
    return Delivery(
        lease,
        message.queue,
        message.envelope,
        message.body,
        message.task_id,
        generation,
        0,
        False,
        revoked,
        False,
        clock,
        message.priority,
    )


def _take_over(
    raw: Session, message: TaskMessage, clock: float, lease: float, owner: str, below: int
) -> Delivery | Adoption:
    """Of a task that the ledger has, its row is what counts, and not the copy that came."""
    held = (clock + lease, owner, message.task_id)
    rows = raw.run("queue.take_over", held).fetchall()
    rows = rows or raw.run("queue.take_over_suspect", (*held, below)).fetchall()
    if rows:
        return delivery(rows[0], clock)
    passed_over = raw.run("queue.passed_over", (message.task_id,)).fetchone() is not None
    return Adoption.ALONE if passed_over else Adoption.HELD
