"""Tasks that gave up: looked at, sent again, dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from celeriac.core.attempt import DeadLetter, DeadLetterFilter
from celeriac.core.message import TaskMessage
from celeriac.errors import DeadLetterError, RedriveRefused, RedriveSuperseded
from celeriac.store.relational import keys, queue
from celeriac.store.relational.ledger import read_attempts
from celeriac.store.relational.part import Part
from celeriac.store.relational.session import Session


class DeadLettersPart(Part):
    """The dead letters' side of the store."""

    def dead_letters(
        self, chosen: DeadLetterFilter, *, batch: int = 200, newest: int | None = None
    ) -> Iterator[DeadLetter]:
        conditions = self._conditions(chosen)
        after = 0 if newest is None else self._before_newest(conditions, newest)
        # By pages, so that no reader holds a snapshot while a person reads.
        while page := self._page((*conditions, after, batch)):
            yield from page
            after = page[-1].id

    def _before_newest(self, conditions: tuple[object, ...], count: int) -> int:
        with self.database.reading() as raw:
            first: int | None = raw.run("dead_letters.newest", (*conditions, count)).fetchone()[0]
        return 0 if first is None else first - 1

    def _page(self, parameters: tuple[object, ...]) -> list[DeadLetter]:
        with self.database.reading() as raw:
            letters = [DeadLetter(*row) for row in raw.run("dead_letters.select", parameters)]
            for letter in letters:
                letter.attempts = read_attempts(raw, letter.task_id)
        return letters

    def _conditions(self, chosen: DeadLetterFilter) -> tuple[object, ...]:
        now = self.now()
        return (
            json.dumps(chosen.ids) if chosen.ids else None,
            self._pattern(chosen.task),
            self._pattern(chosen.queue),
            chosen.error,
            None if chosen.older_than is None else now - chosen.older_than,
            None if chosen.newer_than is None else now - chosen.newer_than,
        )

    @staticmethod
    def _pattern(glob: str | None) -> str | None:
        """A shell pattern in the form that the dialect's statements take."""
        return glob

    def count_dead_letters(self, chosen: DeadLetterFilter) -> int:
        with self.database.reading() as raw:
            count: int = raw.run("dead_letters.count", self._conditions(chosen)).fetchone()[0]
            return count

    def redrive(self, letter: DeadLetter, message: TaskMessage) -> None:
        now = self.now()
        with self.database.writing() as raw:
            if raw.run("dead_letters.delete", (letter.id,)).rowcount != 1:
                raise DeadLetterError(f"dead letter {letter.id} is gone; somebody redrove or purged it")
            if message.key is not None:
                found = keys.holder(raw, message.key, now)
                if found is not None and (found.done or found.task_id != letter.task_id):
                    raise RedriveRefused(letter.name or "?", letter.task_id, message.key.value, found.task_id)
            if raw.run("queue.waiting_message", (letter.task_id,)).fetchone() is not None:
                raise RedriveSuperseded(
                    letter.name or "?", letter.id, letter.task_id, letter.generation + 1, "waiting or running"
                )
            higher = max(letter.generation + 1, self._next_generation(raw, letter.task_id))
            queue.publish(raw, replace(message, awaited=True, generation=higher), now)

    def _next_generation(self, raw: Session, task_id: str) -> int:
        row: tuple[int] | None = raw.run("queue.next_generation", (task_id,)).fetchone()
        return row[0] if row else 0

    def purge_dead_letters(self, ids: Sequence[int]) -> int:
        with self.database.writing() as raw:
            return sum(raw.run("dead_letters.delete", (letter_id,)).rowcount for letter_id in ids)
