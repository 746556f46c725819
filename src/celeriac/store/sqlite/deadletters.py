"""Tasks that gave up: looked at, sent again, dropped."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace

from celeriac.core.attempt import DeadLetter, DeadLetterFilter
from celeriac.core.message import TaskMessage
from celeriac.errors import DeadLetterError, RedriveRefused, RedriveSuperseded
from celeriac.store.sql import queries
from celeriac.store.sqlite import keys, queue
from celeriac.store.sqlite.base import Part
from celeriac.store.sqlite.ledger import read_attempts

SQL = queries("sqlite", "dead_letters")
QUEUE = queries("sqlite", "queue")


class DeadLettersPart(Part):
    """The dead letters' side of the store."""

    def dead_letters(
        self, chosen: DeadLetterFilter, *, batch: int = 200, newest: int | None = None
    ) -> Iterator[DeadLetter]:
        conditions = self._conditions(chosen)
        after = 0 if newest is None else self._before_newest(conditions, newest)
        # By pages, so that no reader holds a snapshot while a person reads.
        while page := self._page({**conditions, "after": after, "limit": batch}):
            yield from page
            after = page[-1].id

    def _before_newest(self, conditions: dict[str, object], count: int) -> int:
        with self.database.reader.reading() as raw:
            first: int | None = raw.execute(SQL["newest"], {**conditions, "limit": count}).fetchone()[0]
        return 0 if first is None else first - 1

    def _page(self, parameters: dict[str, object]) -> list[DeadLetter]:
        with self.database.reader.reading() as raw:
            letters = [DeadLetter(*row) for row in raw.execute(SQL["select"], parameters)]
            for letter in letters:
                letter.attempts = read_attempts(raw, letter.task_id)
        return letters

    def _conditions(self, chosen: DeadLetterFilter) -> dict[str, object]:
        now = self.now()
        return {
            "ids": json.dumps(chosen.ids) if chosen.ids else None,
            "task": chosen.task,
            "queue": chosen.queue,
            "error": chosen.error,
            "failed_before": None if chosen.older_than is None else now - chosen.older_than,
            "failed_after": None if chosen.newer_than is None else now - chosen.newer_than,
        }

    def count_dead_letters(self, chosen: DeadLetterFilter) -> int:
        with self.database.reader.reading() as raw:
            count: int = raw.execute(SQL["count"], self._conditions(chosen)).fetchone()[0]
            return count

    def redrive(self, letter: DeadLetter, message: TaskMessage) -> None:
        now = self.now()
        with self.database.writer.writing() as raw:
            if raw.execute(SQL["delete"], (letter.id,)).rowcount != 1:
                raise DeadLetterError(f"dead letter {letter.id} is gone; somebody redrove or purged it")
            if message.key is not None:
                found = keys.holder(raw, message.key, now)
                if found is not None and (found.done or found.task_id != letter.task_id):
                    raise RedriveRefused(letter.name or "?", letter.task_id, message.key.value, found.task_id)
            if raw.execute(QUEUE["waiting_message"], (letter.task_id,)).fetchone() is not None:
                raise RedriveSuperseded(
                    letter.name or "?", letter.id, letter.task_id, letter.generation + 1, "waiting or running"
                )
            higher = max(letter.generation + 1, self._next_generation(raw, letter.task_id))
            queue.publish(raw, replace(message, awaited=True, generation=higher), now)

    def _next_generation(self, raw: sqlite3.Connection, task_id: str) -> int:
        row: tuple[int] | None = raw.execute(QUEUE["next_generation"], (task_id,)).fetchone()
        return row[0] if row else 0

    def purge_dead_letters(self, ids: Sequence[int]) -> int:
        with self.database.writer.writing() as raw:
            return sum(raw.execute(SQL["delete"], (letter_id,)).rowcount for letter_id in ids)
