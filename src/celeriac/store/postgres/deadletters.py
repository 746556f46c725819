"""Dead letters sent again in few round trips, and alone where others are in each other's way."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from celeriac.core.desk import Redrive
from celeriac.core.message import TaskMessage
from celeriac.errors import DeadLetterError, StoreUnavailable
from celeriac.store.postgres.queue import columns
from celeriac.store.relational.deadletters import DeadLettersPart
from celeriac.store.relational.queue import told
from celeriac.store.relational.session import Session


class PostgresDeadLetters(DeadLettersPart):
    """The dead letters' side of the store."""

    def redrive_all(self, redrives: Sequence[Redrive]) -> list[DeadLetterError | None]:
        at_once = super().redrive_all
        try:
            return at_once(redrives)
        except StoreUnavailable as error:
            # Workers lock keys and chords in the order of what they settle; who has one letter has hardly two of these.
            if len(redrives) <= 1 or not isinstance(error.__cause__, psycopg.errors.DeadlockDetected):
                raise
        return [answer for item in redrives for answer in at_once([item])]

    def _insert_all(self, raw: Session, messages: Sequence[TaskMessage], now: float) -> list[bool]:
        if any(message.grows or message.chains or message.opens for message in messages):
            return super()._insert_all(raw, messages, now)
        row = raw.run("queue.publish_many", columns(messages, now)).fetchone()
        return [not answer.live for answer in told(messages, set(row[0] or ()))]
