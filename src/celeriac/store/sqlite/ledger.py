"""What became of every task: the one transaction that settles, and the look-ups."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace

from celeriac.core.attempt import (
    HANDED_BACK,
    AttemptRecord,
    ChordPart,
    Outcome,
    Record,
    Settled,
    Settlement,
)
from celeriac.core.message import TaskMessage
from celeriac.store.sql import queries
from celeriac.store.sqlite import keys, queue
from celeriac.store.sqlite.base import CLAIMED, DELAYED, READY, Part

SQL = queries("sqlite", "ledger")
QUEUE = queries("sqlite", "queue")

#: Rows of one kind deleted in one transaction, so that no publish waits long for it.
PRUNED_AT_ONCE = 1000
#: Seconds a broadcast is kept for listeners that are slow.
BROADCAST_KEPT = 60.0
#: What is deleted when its own time is over, and what when it is old; parts before their chords.
_EXPIRING = ("prune_tasks", "prune_groups", "prune_revoked", "prune_keys")
_AGEING = ("prune_attempts", "prune_chord_parts", "prune_chords", "prune_bindings")

LOST = Settled(held=False)
_FAILED = frozenset({Outcome.FAILED, Outcome.DEAD_LETTERED, Outcome.REVOKED, Outcome.IGNORED})
_UNSETTLED = frozenset({Outcome.UNSETTLED, Outcome.LEASE_LOST})
_HISTORY = frozenset({Outcome.FAILED, Outcome.DEAD_LETTERED, Outcome.RETRY})


def write_record(raw: sqlite3.Connection, record: Record) -> None:
    """Insert or advance a task's row; a closed generation is never touched again."""
    raw.execute(
        SQL["record"],
        (
            record.task_id,
            record.generation,
            int(record.closed),
            record.state,
            record.name,
            record.queue,
            record.worker,
            record.retries,
            record.started_at,
            record.finished_at,
            record.result,
            record.traceback,
            record.meta,
            record.expires_at,
        ),
    )


def write_loose(raw: sqlite3.Connection, record: Record) -> None:
    """Write a record whose author does not know the generation.

    What has ended stays as it is, except that a failure may be put right.
    """
    replaces = record.closed and record.state != "REVOKED"
    current = raw.execute(SQL["current_generation"], (record.task_id, replaces)).fetchone()[0]
    write_record(raw, replace(record, generation=max(record.generation, current or 0)))


def write_other(raw: sqlite3.Connection, record: Record, now: float) -> None:
    """The end of a task that another one's end brings about: of a chord's body, of whom a chain had replaced."""
    write_loose(raw, record)
    if not record.closed:
        return
    if record.state == "SUCCESS":
        keys.keep(raw, record.task_id, now)
    else:
        keys.free(raw, record.task_id, now)


def settle(raw: sqlite3.Connection, item: Settlement, now: float) -> Settled:
    """Write one settlement, or nothing when its lease is lost."""
    if not _leave_queue(raw, item, now):
        return LOST
    if item.outcome in _HISTORY and item.failure is not None:
        _write_attempt(raw, item, now)
    if item.record is not None:
        write_record(raw, item.record)
    if item.key is not None or item.generation:
        _settle_keys(raw, item, now)
    if not (item.others or item.follow_ups or item.chord or item.grown):
        return _HELD
    return _settle_consequences(raw, item, now)


_HELD = Settled(held=True)


def _settle_consequences(raw: sqlite3.Connection, item: Settlement, now: float) -> Settled:
    for record in item.others:
        write_other(raw, record, now)
    for group_id in item.grown:
        queue.grow(raw, group_id, 1, now)
    for message in item.follow_ups:
        queue.publish(raw, message, now)
    complete = tuple(part.group_id for part in item.chord if add_part(raw, part, now))
    return Settled(True, complete)


def _leave_queue(raw: sqlite3.Connection, item: Settlement, now: float) -> bool:
    """Remove, change or hand back the message row; false when it is no longer ours."""
    row, token = item.lease.message_id, item.lease.token
    if item.outcome is Outcome.COMPLETED:  # by far the most frequent
        return raw.execute(QUEUE["finish"], (row, token)).rowcount == 1
    if item.retry is not None:
        return _retry(raw, item, item.retry, now)
    if item.outcome in HANDED_BACK:
        return raw.execute(QUEUE["release"], (item.snooze_until, 0, row, token)).rowcount == 1
    if item.outcome in _UNSETTLED:
        raise ValueError(f"{item.outcome.value} is no way to settle task {item.task_id}: its message would be lost")
    if item.outcome is Outcome.DEAD_LETTERED and not _bury(raw, item, now):
        return False
    return raw.execute(QUEUE["finish"], (row, token)).rowcount == 1


def _retry(raw: sqlite3.Connection, item: Settlement, retry: TaskMessage, now: float) -> bool:
    delayed = retry.run_at is not None and retry.run_at > now
    done = raw.execute(
        QUEUE["retry"],
        (
            retry.queue,
            retry.priority,
            DELAYED if delayed else READY,
            retry.run_at,
            retry.expires_at,
            retry.envelope,
            retry.body,
            item.lease.message_id,
            item.lease.token,
        ),
    )
    return done.rowcount == 1


def _bury(raw: sqlite3.Connection, item: Settlement, now: float) -> bool:
    failure = item.failure
    assert failure is not None  # the pipeline never buries without a reason
    done = raw.execute(
        QUEUE["dead_letter_from_message"],
        (
            failure.reason,
            failure.error_type,
            failure.error,
            failure.traceback,
            item.worker,
            now,
            item.lease.message_id,
            item.lease.token,
        ),
    )
    return done.rowcount == 1


def _write_attempt(raw: sqlite3.Connection, item: Settlement, now: float) -> None:
    failure = item.failure
    assert failure is not None
    raw.execute(
        SQL["attempt"],
        (
            item.task_id,
            item.generation,
            item.started_at,
            now,
            item.worker,
            item.outcome.value,
            failure.error_type,
            failure.error,
            failure.traceback,
        ),
    )


def _settle_keys(raw: sqlite3.Connection, item: Settlement, now: float) -> None:
    # By the task id: a task that replaced the one under the key has none itself.
    if item.outcome is Outcome.COMPLETED:
        keys.keep(raw, item.task_id, now)
    elif item.outcome in _FAILED:
        keys.free(raw, item.task_id, now)


def add_part(raw: sqlite3.Connection, part: ChordPart, now: float) -> bool:
    """Count a chord member; true when the chord is now complete."""
    raw.execute(SQL["chord_body"], (part.group_id, part.body, now))
    row = (part.group_id, part.task_id, part.position, int(part.succeeded), part.result)
    if raw.execute(SQL["chord_part"], row).rowcount != 1:
        return False  # it had succeeded before
    return raw.execute(SQL["chord_complete"], (part.group_id, now)).rowcount == 1


def record_from(row: Sequence[object]) -> Record:
    """One row of ``task`` as a record."""
    record = Record(*row)  # type: ignore[arg-type]  # the query names the fields in order
    record.closed = bool(record.closed)
    return record


class LedgerPart(Part):
    """The ledger's side of the store."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        now = self.now()
        with self.database.writer.writing() as raw:
            return [settle(raw, item, now) for item in settlements]

    def store(self, record: Record) -> None:
        with self.database.writer.writing() as raw:
            write_loose(raw, record)

    def records(self, task_ids: Sequence[str], *, live: bool = True) -> dict[str, Record]:
        wanted = json.dumps(list(task_ids))
        with self.database.reader.reading() as raw:
            rows = raw.execute(SQL["get"], (wanted,)).fetchall()
            found = {row[0]: record_from(row) for row in rows}
            if live:
                self._add_live(raw, wanted, found)
        return found

    def _add_live(self, raw: sqlite3.Connection, wanted: str, found: dict[str, Record]) -> None:
        """Tasks in the queue have no row yet, or one of an earlier generation."""
        for task_id, generation, name, queue_name, owner, status, started_at, revoked in raw.execute(
            SQL["live"], (wanted,)
        ):
            if task_id in found and found[task_id].generation >= generation:
                continue
            state = _live_state(status, started_at, revoked)
            known = found.get(task_id)
            if known is not None and known.state == "RETRY" and state == "PENDING":
                continue  # RETRY says more
            found[task_id] = Record(
                task_id, generation, state, state == "REVOKED", name, queue_name, owner, 0, started_at
            )

    def forget(self, task_id: str) -> None:
        with self.database.writer.writing() as raw:
            # Whoever publishes under its key is told that it is done, so much must stay.
            if raw.execute(SQL["forget_result"], (task_id,)).rowcount != 1:
                raw.execute(SQL["forget"], (task_id,))

    def attempts(self, task_id: str) -> list[AttemptRecord]:
        with self.database.reader.reading() as raw:
            return read_attempts(raw, task_id)

    def revoke(self, task_ids: Iterable[str], keep: float) -> list[str]:
        now = self.now()
        hastened: list[str] = []
        with self.database.writer.writing() as raw:
            for task_id in task_ids:
                raw.execute(SQL["revoke"], (task_id, now + keep))
                # A worker ends it now rather than when it would be due.
                hastened += [row[0] for row in raw.execute(SQL["hasten"], (task_id,)).fetchall()]
        return hastened

    def save_group(self, group_id: str, result: str | bytes, expires_at: float | None) -> None:
        with self.database.writer.writing() as raw:
            raw.execute(SQL["save_group"], (group_id, result, expires_at))

    def get_group(self, group_id: str) -> str | bytes | None:
        with self.database.reader.reading() as raw:
            row = raw.execute(SQL["get_group"], (group_id,)).fetchone()
            return row[0] if row else None

    def delete_group(self, group_id: str) -> None:
        with self.database.writer.writing() as raw:
            raw.execute(SQL["delete_group"], (group_id,))

    def prune(self, now: float, *, attempts_before: float, dead_letters_before: float | None) -> int:
        bounds = [
            *((SQL[name], now) for name in _EXPIRING),
            *((SQL[name], attempts_before) for name in _AGEING),
            (QUEUE["prune_broadcast"], now - BROADCAST_KEPT),
        ]
        if dead_letters_before is not None:
            bounds.append((queue.LETTERS["prune"], dead_letters_before))
        total = 0
        while deleted := self._prune_some(bounds):
            total += deleted
        return total

    def _prune_some(self, bounds: Sequence[tuple[str, float]]) -> int:
        with self.database.writer.writing() as raw:
            return sum(raw.execute(statement, (before, PRUNED_AT_ONCE)).rowcount for statement, before in bounds)


def _live_state(status: int, started_at: float | None, revoked: bool) -> str:
    if status == CLAIMED:  # who holds it may run it already, and then it ends as it will
        return "STARTED" if started_at else "PENDING"
    return "REVOKED" if revoked else "PENDING"


def read_attempts(raw: sqlite3.Connection, task_id: str) -> list[AttemptRecord]:
    """A task's history, oldest first."""
    return [AttemptRecord(*row) for row in raw.execute(SQL["attempts"], (task_id,))]
