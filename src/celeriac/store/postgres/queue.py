"""What PostgreSQL does in one round trip where other SQL stores take several statements."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import psycopg

from celeriac.core.message import LAST_CHANCE, Delivery, Published, TaskMessage
from celeriac.store.postgres import copying
from celeriac.store.postgres.database import Database
from celeriac.store.postgres.session import Session, pack
from celeriac.store.protocols import News
from celeriac.store.relational import keys, workflows
from celeriac.store.relational.limits import Claim
from celeriac.store.relational.queue import MANY, QueuePart, needs_the_chord, told, waiting


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
            due, suspect, ready, limited, paused = self._look(session, queues, below)
            if due:
                session.run("queue.promote", (self.now(),))
                _, suspect, ready, limited, paused = self._look(session, queues, below)
            if not (suspect or limited or paused):
                # One statement a queue, each a transaction of its own: there is nothing that must hold between them.
                return self._claim_plain(session, queues, limit, lease, owner) if ready else []
        return super().claim(queues, limit, owner=owner, lease=lease, idle=idle, last_chance=last_chance)

    def _claim_plain(
        self, session: Session, queues: Sequence[str], limit: int, lease: float, owner: str
    ) -> list[Delivery]:
        clock = self.lease_now()
        found: list[Delivery] = []
        claim = Claim("", (clock + lease, owner), clock, clock, self.rules)
        for queue in queues:
            if len(found) < limit:
                found += self._claim_ready(session, claim, queue, limit - len(found))
        for item in found:
            item.batch = len(found)
        return found

    def _look(self, session: Session, queues: Sequence[str], below: int) -> tuple[bool, bool, bool, bool, bool]:
        look = (self.now(), list(queues), below, self.lease_now())
        row: tuple[bool, bool, bool, bool, bool] | None = session.run("queue.look", look).fetchone()
        assert row is not None
        return row


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
