"""Tasks that gave up: looked at, acknowledged, sent again, dropped; and the log of who did that."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from celeriac.core.attempt import AttemptRecord, DeadLetter, DeadLetterFilter
from celeriac.core.desk import Action, By, ErrorGroup, Redrive, Verb
from celeriac.core.fingerprints import fingerprint
from celeriac.core.message import TaskMessage
from celeriac.errors import DeadLetterError
from celeriac.store.relational import chains, queue, redriving
from celeriac.store.relational.ledger import read_attempts
from celeriac.store.relational.part import READY, Part
from celeriac.store.relational.session import Session

#: Letters of an older version that are given their fingerprint in one transaction.
PRINTED_AT_ONCE = 500


def act(raw: Session, by: By, verb: Verb, now: float, letter_id: int | None, task_id: str | None) -> None:
    """Write a line of the log."""
    raw.run("dead_letters.act", (now, by.who, verb.value, letter_id, task_id, by.note))


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
            attempts = read_attempts(raw, [letter.task_id for letter in letters]) if letters else {}
        for letter in letters:
            letter.attempts = attempts.get(letter.task_id, [])
        return letters

    def _conditions(self, chosen: DeadLetterFilter) -> tuple[object, ...]:
        now = self.now()
        if chosen.fingerprint is not None:
            self._print_all()
        return (
            json.dumps(chosen.ids) if chosen.ids else None,
            self._pattern(chosen.task),
            self._pattern(chosen.queue),
            chosen.error,
            None if chosen.older_than is None else now - chosen.older_than,
            None if chosen.newer_than is None else now - chosen.newer_than,
            chosen.fingerprint,
            None if chosen.acknowledged is None else int(chosen.acknowledged),
        )

    def _print_all(self) -> None:
        """Give what an older version wrote its fingerprint."""
        while self._print_some():
            pass

    def _print_some(self) -> bool:
        with self.database.reading() as raw:
            rows = raw.run("dead_letters.unprinted", (PRINTED_AT_ONCE,)).fetchall()
        if rows:
            with self.database.writing() as raw:
                for number, error_type, error in rows:
                    raw.run("dead_letters.print", (fingerprint(error_type, error), number))
        return bool(rows)

    def count_dead_letters(self, chosen: DeadLetterFilter) -> int:
        with self.database.reading() as raw:
            count: int = raw.run("dead_letters.count", self._conditions(chosen)).fetchone()[0]
            return count

    def dead_letters_of(self, task_ids: Sequence[str]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        with self.database.reading() as raw:
            for task_id, number in raw.run("dead_letters.of_tasks", (json.dumps(list(task_ids)),)):
                found.setdefault(task_id, []).append(number)
        return {task_id: sorted(numbers) for task_id, numbers in found.items()}

    def error_groups(self, chosen: DeadLetterFilter) -> list[ErrorGroup]:
        self._print_all()
        with self.database.reading() as raw:
            return [ErrorGroup(*row) for row in raw.run("dead_letters.groups", self._conditions(chosen))]

    # -- acted on

    def redrive(self, letter: DeadLetter, message: TaskMessage, by: By, *, from_start: bool = False) -> None:
        for error in self.redrive_all([Redrive(letter, message, by, from_start)]):
            if error is not None:
                raise error

    def redrive_all(self, redrives: Sequence[Redrive]) -> list[DeadLetterError | None]:
        now = self.now()
        with self.database.writing() as raw:
            return redriving.redrive_all(raw, redrives, now, self._insert_all)

    def _insert_all(self, raw: Session, messages: Sequence[TaskMessage], now: float) -> list[bool]:
        """Put messages that have their keys into their queues; false for each whose task is there already."""
        return [queue.insert(raw, message, READY, now) for message in messages]

    def purge_dead_letters(self, ids: Sequence[int], by: By) -> int:
        return self._deal_with("dead_letters.delete", (json.dumps(list(ids)),), by, Verb.PURGED)

    def acknowledge_dead_letters(self, ids: Sequence[int], by: By) -> int:
        row = (self.now(), by.who, by.note, json.dumps(list(ids)))
        return self._deal_with("dead_letters.acknowledge", row, by, Verb.ACKNOWLEDGED)

    def reopen_dead_letters(self, ids: Sequence[int], by: By) -> int:
        return self._deal_with("dead_letters.reopen", (json.dumps(list(ids)),), by, Verb.REOPENED, read=False)

    def _deal_with(self, statement: str, row: tuple[object, ...], by: By, verb: Verb, *, read: bool = True) -> int:
        """Do it to all of them; who deals with a letter has read of the failure."""
        with self.database.writing() as raw:
            letters = sorted(raw.run(statement, row).fetchall())
            redriving.act_on(raw, by, verb, self.now(), letters)
            if read:
                raw.run("failures.read_all", (json.dumps([task_id for _, task_id in letters]),))
        return len(letters)

    def import_dead_letters(self, letters: Sequence[DeadLetter], by: By) -> int:
        now = self.now()
        with self.database.writing() as raw:
            raw.lock("\x1fimport")  # of two who import the same, one finds that it is there
            return sum(self._import(raw, letter, by, now) for letter in letters)

    def _import(self, raw: Session, letter: DeadLetter, by: By, now: float) -> bool:
        rows = raw.run("dead_letters.import", _imported(letter)).fetchall()
        for (number,) in rows:
            for attempt in letter.attempts:
                raw.run("dead_letters.import_attempt", _attempt(attempt))
            act(raw, by, Verb.IMPORTED, now, number, letter.task_id)
            if letter.chains is not None:
                chains.write(raw, letter.chains, now)
        return bool(rows)

    # -- the log

    def record_action(self, verb: Verb, by: By) -> None:
        with self.database.writing() as raw:
            act(raw, by, verb, self.now(), None, None)

    def actions(self, task_id: str | None = None, *, newest: int = 200) -> list[Action]:
        with self.database.reading() as raw:
            if task_id is None:
                rows = raw.run("dead_letters.actions", (newest,)).fetchall()
            else:
                rows = raw.run("dead_letters.actions_of", (task_id, newest)).fetchall()
        return [Action(at, who, Verb(verb), *rest) for at, who, verb, *rest in reversed(rows)]


def _imported(letter: DeadLetter) -> tuple[object, ...]:
    return (
        letter.task_id,
        letter.generation,
        letter.name,
        letter.queue,
        letter.reason,
        letter.error_type,
        letter.error,
        letter.traceback,
        letter.worker,
        letter.failed_at,
        letter.envelope,
        letter.body,
        letter.priority,
        fingerprint(letter.error_type, letter.error),
        letter.acked_at,
        letter.acked_by,
        letter.note,
        letter.snoozes,
    )


def _attempt(attempt: AttemptRecord) -> tuple[object, ...]:
    return (
        attempt.task_id,
        attempt.generation,
        attempt.started_at,
        attempt.finished_at,
        attempt.worker,
        attempt.outcome,
        attempt.error_type,
        attempt.error,
        attempt.traceback,
    )
