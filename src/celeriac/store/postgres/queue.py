"""What PostgreSQL does in one round trip where other SQL stores take several statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg

from celeriac.core.message import LAST_CHANCE, Delivery, Published, TaskMessage
from celeriac.store.postgres import copying
from celeriac.store.postgres.database import Database
from celeriac.store.postgres.session import Session, pack
from celeriac.store.protocols import News
from celeriac.store.relational import keys, workflows
from celeriac.store.relational.limits import Claim
from celeriac.store.relational.queue import MANY, QueuePart, in_order, needs_the_chord, told, waiting

#: Claims from a queue, as far as there is room.
Take = Callable[[Any, Claim, str, int], list[Delivery]]


class Look(NamedTuple):
    """What there is to claim, and what is paused."""

    due: bool
    suspect: bool
    ready: bool
    limited: bool
    paused_queues: list[str]
    paused_tasks: bool


class _ThereAlreadyError(Exception):
    """One of the tasks is there, and none was copied: each has to be looked at."""


class PostgresQueue(QueuePart):
    """The queue's side of the store."""

    database: Database

    def publish(self, messages: Sequence[TaskMessage]) -> list[Published]:
        if any(message.key is not None or needs_the_chord(message) or message.chains for message in messages):
            return super().publish(messages)
        if not messages:
            return []
        now = self.now()
        if copying.worth_it(messages):
            with suppress(_ThereAlreadyError):
                return self._copy(messages, now)
        if any(message.opens is not None for message in messages):
            with self.database.publishing() as session:
                _record(session, messages, now)
                row = session.run("queue.publish_many", columns(messages, now)).fetchone()
        else:
            with self.database.reading(self.database.timeout) as session:
                row = session.run("queue.publish_many", columns(messages, now)).fetchone()
                self.database.bell.ring(session, News.WORK)
        assert row is not None
        return told(messages, set(row[0] or ()))

    def _copy(self, messages: Sequence[TaskMessage], now: float) -> list[Published]:
        with self.database.publishing() as session:
            try:
                _record(session, messages, now)
                copying.copy(session, messages, now)
            except psycopg.errors.UniqueViolation as error:
                raise _ThereAlreadyError from error
        return [Published(message.task_id) for message in messages]

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
        with self.database.reading() as session:
            look = self._look(session, queues, below)
            if look.due:
                session.run("queue.promote", (self.now(),))
                look = self._look(session, queues, below)
            if not (look.suspect or look.limited):
                # One statement a queue, each a transaction of its own: there is nothing that must hold between them.
                open_queues = [queue for queue in queues if queue not in look.paused_queues] if look.ready else []
                take = self._claim_unpaused if look.paused_tasks else self._claim_ready
                return self._claim_plain(session, take, open_queues, limit, lease, owner)
        return super().claim(queues, limit, owner=owner, lease=lease, idle=idle, last_chance=last_chance)

    def _claim_plain(
        self, session: Session, take: Take, queues: Sequence[str], limit: int, lease: float, owner: str
    ) -> list[Delivery]:
        clock = self.lease_now()
        found: list[Delivery] = []
        claim = Claim("", (clock + lease, owner), clock, clock, self.rules)
        for queue in queues:
            if len(found) < limit:
                found += take(session, claim, queue, limit - len(found))
        for item in found:
            item.batch = len(found)
        return found

    def _claim_unpaused(self, session: Session, claim: Claim, queue: str, room: int) -> list[Delivery]:
        """The same where tasks are paused: what is of these is set aside, and thousands at once where a claim meets some."""
        while True:
            rows = session.run("queue.claim_unpaused", (*claim.held, queue, room)).fetchall()
            found = [row[1:] for row in rows if row[1] is not None]
            if rows[0][0]:
                session.run("pauses.sweep_ready", (queue,))
            if found or not rows[0][0]:
                return in_order(found, claim.clock)

    def _look(self, session: Session, queues: Sequence[str], below: int) -> Look:
        row = session.run("queue.look", (self.now(), list(queues), below, self.lease_now())).fetchone()
        assert row is not None
        return Look(*row)


def _record(session: Session, messages: Sequence[TaskMessage], now: float) -> None:
    for message in messages:
        if message.opens is not None:
            workflows.record(session, message.opens, now)


def columns(messages: Sequence[TaskMessage], now: float) -> list[object]:
    """The parameters of ``queue.publish_many``."""
    return [
        [message.queue for message in messages],
        [message.priority for message in messages],
        [waiting(message, now) for message in messages],
        [message.run_at for message in messages],
        [message.expires_at for message in messages],
        [message.task_id for message in messages],
        [message.name for message in messages],
        [message.generation for message in messages],
        now,
        [message.envelope for message in messages],
        [pack(message.body) for message in messages],
        [message.limits for message in messages],
        [keys.full_key(message.key) if message.key else None for message in messages],
    ]
