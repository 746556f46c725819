"""Failures of which nobody has heard: written with the failure, dropped when somebody reads of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from celeriac.core.attempt import DeadLetterFilter, Failure, Record
from celeriac.core.desk import By, UnreadFailure, Verb
from celeriac.store.relational.part import Part
from celeriac.store.relational.session import Session


def note(raw: Session, record: Record, failure: Failure | None, now: float, *, lettered: bool = False) -> None:
    """Of the end of a task: a failure is unread from now on, and what became of an earlier one is over."""
    if record.state == "FAILURE" and not record.told:
        error_type, error = record.error_type or "?", record.error or ""
        if failure is not None:
            error_type, error = failure.error_type, failure.error
        facts = (record.task_id, record.generation, record.name, record.queue, record.worker)
        raw.run("failures.write", (*facts, error_type, error, now, int(lettered)))
    elif record.generation:
        raw.run("failures.read", (record.task_id,))


class FailuresPart(Part):
    """The side of the store that knows what nobody has read."""

    def unread_failures(
        self, chosen: DeadLetterFilter, *, batch: int = 200, newest: int | None = None
    ) -> Iterator[UnreadFailure]:
        conditions = self._failures_conditions(chosen)
        if newest is not None:
            yield from self._newest_failures((*conditions, newest))
            return
        after: tuple[float, str] = (float("-inf"), "")
        while page := self._page_of_failures((*conditions, *after, batch)):
            yield from page
            after = (page[-1].failed_at, page[-1].task_id)

    def _newest_failures(self, parameters: tuple[object, ...]) -> list[UnreadFailure]:
        with self.database.reading() as raw:
            return [UnreadFailure(*row) for row in raw.run("failures.newest", parameters)][::-1]

    def _page_of_failures(self, parameters: tuple[object, ...]) -> list[UnreadFailure]:
        with self.database.reading() as raw:
            return [UnreadFailure(*row) for row in raw.run("failures.select", parameters)]

    def _failures_conditions(self, chosen: DeadLetterFilter) -> tuple[object, ...]:
        now = self.now()
        return (
            self._pattern(chosen.task),
            self._pattern(chosen.queue),
            chosen.error,
            None if chosen.older_than is None else now - chosen.older_than,
            None if chosen.newer_than is None else now - chosen.newer_than,
        )

    def count_unread_failures(self, chosen: DeadLetterFilter) -> int:
        with self.database.reading() as raw:
            count: int = raw.run("failures.count", self._failures_conditions(chosen)).fetchone()[0]
            return count

    def failures_read(self, task_ids: Sequence[str]) -> None:
        wanted = json.dumps(list(task_ids))
        # Only a look, nearly always: whoever reads a result twice never takes the write lock.
        with self.database.reading() as raw:
            unread = raw.run("failures.unread", (wanted,)).fetchall()
        if unread:
            with self.database.publishing() as raw:
                for (task_id,) in unread:
                    raw.run("failures.read", (task_id,))

    def acknowledge_failures(self, task_ids: Sequence[str], by: By) -> int:
        now, done = self.now(), 0
        with self.database.writing() as raw:
            for task_id in task_ids:
                if raw.run("failures.read", (task_id,)).rowcount == 1:
                    raw.run("dead_letters.act", (now, by.who, Verb.READ.value, None, task_id, by.note))
                    done += 1
        return done
