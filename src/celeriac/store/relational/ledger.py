"""What became of every task: the one transaction that settles, and the look-ups."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from celeriac.core.attempt import (
    HANDED_BACK,
    AttemptRecord,
    ChordPart,
    Failure,
    Outcome,
    Record,
    Settled,
    Settlement,
)
from celeriac.core.desk import By, Verb
from celeriac.core.fingerprints import fingerprint
from celeriac.core.message import TaskMessage
from celeriac.store.relational import checkpoints, failures, joining, keys, queue, workflows
from celeriac.store.relational.limits import LimitsPart
from celeriac.store.relational.part import CLAIMED
from celeriac.store.relational.session import Session

#: Rows of one kind deleted in one transaction, so that no publish waits long for it.
PRUNED_AT_ONCE = 1000
#: Seconds a broadcast is kept for listeners that are slow.
BROADCAST_KEPT = 60.0
#: What is deleted when its own time is over, and what when it is old; parts before their chords.
_EXPIRING = (
    "ledger.prune_tasks",
    "ledger.prune_groups",
    "ledger.prune_revoked",
    "ledger.prune_keys",
    "checkpoints.prune",
)
_AGEING = (
    "ledger.prune_attempts",
    "ledger.prune_chord_parts",
    "ledger.prune_chords",
    "ledger.prune_bindings",
    "chains.prune_steps",
    "chains.prune_holders",
    "chains.prune",
    "dead_letters.prune_letter_chords",
    "dead_letters.prune_actions",
    "failures.prune",
    "workflows.prune",
    "checkpoints.prune_open",
)

LOST, HELD = Settled(held=False), Settled(held=True)
_FAILED = frozenset({Outcome.FAILED, Outcome.DEAD_LETTERED, Outcome.REVOKED, Outcome.IGNORED})
_UNSETTLED = frozenset({Outcome.UNSETTLED, Outcome.LEASE_LOST})
_HISTORY = frozenset({Outcome.FAILED, Outcome.DEAD_LETTERED, Outcome.RETRY})


def write_record(
    raw: Session, record: Record, now: float, failure: Failure | None = None, *, lettered: bool = False
) -> None:
    """Insert or advance a task's row; a closed generation is never touched again."""
    written = raw.run(
        "ledger.record",
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
    if record.closed and written.rowcount == 1:
        failures.note(raw, record, failure, now, lettered=lettered)


def write_loose(raw: Session, record: Record, now: float) -> None:
    """Write a record whose author does not know the generation.

    What has ended stays as it is, except that a failure may be put right.
    """
    replaces = record.closed and record.state != "REVOKED"
    current = raw.run("ledger.current_generation", (record.task_id, replaces)).fetchone()[0]
    write_record(raw, replace(record, generation=max(record.generation, current or 0)), now)


def write_other(raw: Session, record: Record, now: float) -> None:
    """The end of a task that another one's end brings about: of a chord's body, of whom a chain had replaced."""
    write_loose(raw, record, now)
    if not record.closed:
        return
    if record.state == "SUCCESS":
        keys.keep(raw, record.task_id, now)
    else:
        keys.free(raw, record.task_id, now)


def settle_all(raw: Session, settlements: Sequence[Settlement], now: float) -> list[Settled]:
    """Write settlements, each whole or not at all."""
    joins = Joins(raw, now)
    found = [settle(raw, item, now, joins) for item in settlements]
    return joins.tell(settlements, found)


def settle(raw: Session, item: Settlement, now: float, joins: Joins) -> Settled:
    """Write one settlement, or nothing when its lease is lost."""
    if not _leave_queue(raw, item, now):
        return LOST
    if item.outcome in _HISTORY and item.failure is not None:
        _write_attempt(raw, item, now)
    if item.record is not None:
        write_record(raw, item.record, now, item.failure, lettered=item.outcome is Outcome.DEAD_LETTERED)
    if item.key is not None or item.generation:
        _settle_keys(raw, item, now)
    if item.checkpoint is not None or item.outcome is not Outcome.COMPLETED:
        checkpoints.settle(raw, item, now)
    if item.cancels is not None:
        workflows.cancel(raw, *item.cancels, now)
    if not (item.others or item.follow_ups or item.chord or item.grown):
        return HELD
    _settle_consequences(raw, item, now)
    joins.add(item.chord, item)
    return HELD


def _settle_consequences(raw: Session, item: Settlement, now: float) -> None:
    for record in item.others:
        write_other(raw, record, now)
    for group_id in item.grown:
        joining.grow(raw, group_id, 1, now)
    for message in item.follow_ups:
        queue.publish(raw, message, now)
    if item.outcome is Outcome.DEAD_LETTERED:
        for part in item.chord:
            raw.run("dead_letters.hold_chord", (item.task_id, part.group_id, now))


def _leave_queue(raw: Session, item: Settlement, now: float) -> bool:
    """Remove, change or hand back the message row; false when it is no longer ours."""
    row, token = item.lease.message_id, item.lease.token
    if item.outcome is Outcome.COMPLETED:  # by far the most frequent
        return raw.run("queue.finish", (row, token)).rowcount == 1
    if item.retry is not None:
        return _retry(raw, item, item.retry, now)
    if item.outcome in HANDED_BACK:
        back = raw.run("queue.release", (item.snooze_until, 0, row, token)).rowcount == 1
        if back and item.behind:
            queue.go_behind(raw, row)
        return back
    if item.outcome in _UNSETTLED:
        raise ValueError(f"{item.outcome.value} is no way to settle task {item.task_id}: its message would be lost")
    if item.outcome is Outcome.DEAD_LETTERED and not _bury(raw, item, now):
        return False
    return raw.run("queue.finish", (row, token)).rowcount == 1


def _retry(raw: Session, item: Settlement, retry: TaskMessage, now: float) -> bool:
    done = raw.run(
        "queue.retry",
        (
            retry.queue,
            retry.priority,
            queue.waiting(retry, now),
            retry.run_at,
            retry.expires_at,
            retry.envelope,
            retry.body,
            retry.limits,
            item.lease.message_id,
            item.lease.token,
        ),
    )
    return done.rowcount == 1


def _bury(raw: Session, item: Settlement, now: float) -> bool:
    failure = item.failure
    assert failure is not None  # the pipeline never buries without a reason
    done = raw.run(
        "queue.dead_letter_from_message",
        (
            failure.reason,
            failure.error_type,
            failure.error,
            failure.traceback,
            item.worker,
            now,
            fingerprint(failure.error_type, failure.error),
            item.lease.message_id,
            item.lease.token,
        ),
    )
    return done.rowcount == 1


def _write_attempt(raw: Session, item: Settlement, now: float) -> None:
    failure = item.failure
    assert failure is not None
    raw.run(
        "ledger.attempt",
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


def _settle_keys(raw: Session, item: Settlement, now: float) -> None:
    # By the task id: a task that replaced the one under the key has none itself.
    if item.outcome is Outcome.COMPLETED:
        keys.keep(raw, item.task_id, now)
    elif item.outcome in _FAILED:
        keys.free(raw, item.task_id, now)


class Joins:
    """The chords of which members end in one transaction: each is looked at once, for all of them."""

    def __init__(self, raw: Session, now: float) -> None:
        self._raw, self._now = raw, now
        self._seen: set[tuple[str, bool]] = set()
        #: The settlement whose member is a chord's last so far.
        self._last: dict[str, Settlement | None] = {}
        #: Chords of which a member has failed, maybe anew.
        self._failed: set[str] = set()

    def add(self, parts: Iterable[ChordPart], item: Settlement | None = None) -> None:
        """Count members that have ended."""
        for part in parts:
            key = part.group_id, bool(part.body)  # what has none does not take its place
            if key not in self._seen:
                self._raw.run("ledger.chord_body", (part.group_id, part.body, self._now))
                self._seen.add(key)
            came_to = -1 if part.cancelled else int(part.succeeded)
            row = (part.group_id, part.task_id, part.position, came_to, part.result)
            if self._raw.run("ledger.chord_part", row).rowcount == 1:  # otherwise it had succeeded before
                self._last[part.group_id] = item
                if not part.succeeded:
                    self._failed.add(part.group_id)

    def complete(self) -> list[str]:
        """The chords that are complete now; nobody is told so again."""
        return [group_id for group_id in self._last if self._is_complete(group_id)]

    def _is_complete(self, group_id: str) -> bool:
        anew = group_id in self._failed
        return self._raw.run("ledger.chord_complete", (group_id, self._now, anew)).rowcount == 1

    def tell(self, settlements: Sequence[Settlement], found: list[Settled]) -> list[Settled]:
        """What was found, where the last members know which chords they have completed."""
        for group_id in self.complete():
            place = next(place for place, item in enumerate(settlements) if item is self._last[group_id])
            found[place] = Settled(True, (*found[place].complete_chords, group_id))
        return found


def record_from(row: Sequence[object]) -> Record:
    """One row of ``task`` as a record."""
    record = Record(*row)  # type: ignore[arg-type]  # the query names the fields in order
    record.closed = bool(record.closed)
    return record


class LedgerPart(LimitsPart):
    """The ledger's side of the store."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        now = self.now()
        with self.database.writing() as raw:
            return settle_all(raw, settlements, now)

    def store(self, record: Record) -> None:
        with self.database.writing() as raw:
            write_loose(raw, record, self.now())

    def records(self, task_ids: Sequence[str], *, live: bool = True) -> dict[str, Record]:
        wanted = json.dumps(list(task_ids))
        with self.database.reading() as raw:
            rows = raw.run("ledger.get", (wanted,)).fetchall()
            found = {row[0]: record_from(row) for row in rows}
            if live:
                self._add_live(raw, wanted, found)
        return found

    def _add_live(self, raw: Session, wanted: str, found: dict[str, Record]) -> None:
        """Tasks in the queue have no row yet, or one of an earlier generation."""
        for task_id, generation, name, queue_name, owner, status, started_at, revoked, snoozes, due_at in raw.run(
            "ledger.live", (wanted,)
        ):
            if task_id in found and found[task_id].generation >= generation:
                continue
            state = _live_state(status, started_at, revoked)
            known = found.get(task_id)
            if known is not None and known.state == "RETRY" and state == "PENDING":
                continue  # RETRY says more
            found[task_id] = Record(
                task_id,
                generation,
                state,
                state == "REVOKED",
                name,
                queue_name,
                owner,
                0,
                started_at,
                snoozes=snoozes,
                due_at=due_at,
            )

    def forget(self, task_id: str, *, result_only: bool = False) -> None:
        with self.database.writing() as raw:
            # Whoever publishes under its key is told that it is done, so much must stay.
            stays = raw.run("ledger.forget_result", (task_id, result_only)).rowcount == 1
            if not (stays or result_only):
                raw.run("ledger.forget", (task_id,))
            raw.run("checkpoints.forget", (task_id,))
            raw.run("failures.read", (task_id,))

    def attempts(self, task_id: str) -> list[AttemptRecord]:
        with self.database.reading() as raw:
            return read_attempts(raw, [task_id]).get(task_id, [])

    def revoke(self, task_ids: Iterable[str], keep: float, by: By | None = None) -> list[str]:
        now = self.now()
        hastened: list[str] = []
        with self.database.writing() as raw:
            if by is not None:
                raw.run("dead_letters.act", (now, by.who, Verb.REVOKED.value, None, None, by.note))
            for task_id in task_ids:
                raw.run("ledger.revoke", (task_id, now + keep))
                # A worker ends it now rather than when it would be due.
                hastened += [row[0] for row in raw.run("ledger.hasten", (task_id,)).fetchall()]
        return hastened

    def save_group(self, group_id: str, result: str | bytes, expires_at: float | None) -> None:
        with self.database.writing() as raw:
            raw.run("ledger.save_group", (group_id, result, expires_at))

    def get_group(self, group_id: str) -> str | bytes | None:
        with self.database.reading() as raw:
            row = raw.run("ledger.get_group", (group_id,)).fetchone()
            return row[0] if row else None

    def delete_group(self, group_id: str) -> None:
        with self.database.writing() as raw:
            raw.run("ledger.delete_group", (group_id,))

    def prune(self, now: float, *, attempts_before: float, dead_letters_before: float | None) -> int:
        bounds = [
            *((name, now) for name in _EXPIRING),
            *((name, attempts_before) for name in _AGEING),
            ("queue.prune_broadcast", now - BROADCAST_KEPT),
        ]
        if dead_letters_before is not None:
            bounds += [("dead_letters.prune", dead_letters_before), ("failures.prune_lettered", dead_letters_before)]
        return self._prune(bounds) + self._prune_rates()

    def _prune(self, bounds: Sequence[tuple[str, float]]) -> int:
        total = 0
        while deleted := self._prune_some(bounds):
            total += deleted
        return total

    def _prune_some(self, bounds: Sequence[tuple[str, float]]) -> int:
        with self.database.writing() as raw:
            return sum(raw.run(name, (before, PRUNED_AT_ONCE)).rowcount for name, before in bounds)


def _live_state(status: int, started_at: float | None, revoked: bool) -> str:
    if status == CLAIMED:  # who holds it may run it already, and then it ends as it will
        return "STARTED" if started_at else "PENDING"
    return "REVOKED" if revoked else "PENDING"


def read_attempts(raw: Session, task_ids: Sequence[str]) -> dict[str, list[AttemptRecord]]:
    """The histories of those tasks that have one, oldest first."""
    found: dict[str, list[AttemptRecord]] = {}
    for row in raw.run("ledger.attempts", (json.dumps(list(task_ids)),)):
        found.setdefault(row[0], []).append(AttemptRecord(*row))
    return found
