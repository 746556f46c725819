"""What became of every task: the one script that settles, and the look-ups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from celeriac.core.attempt import HANDED_BACK, AttemptRecord, Outcome, Record, Settled, Settlement
from celeriac.core.desk import By
from celeriac.core.fingerprints import fingerprint
from celeriac.store.redis.checkpoints import checkpoint_arguments
from celeriac.store.redis.packing import (
    Argument,
    by_arguments,
    messages_arguments,
    named_record,
    number,
    pack,
    part_arguments,
    plain,
    text,
    texts_arguments,
    to_attempt,
    to_number,
    to_record,
    unpack,
    unpack_text,
)
from celeriac.store.redis.part import AT_ONCE, Part

#: Seconds a broadcast is kept for listeners that are slow.
BROADCAST_KEPT = 60.0
#: Tasks looked up at once.
LOOKED_UP = 1000
LOST, HELD = Settled(held=False), Settled(held=True)
_FREEING = frozenset({Outcome.FAILED, Outcome.DEAD_LETTERED, Outcome.REVOKED, Outcome.IGNORED})
#: Ends after which nothing is gone on with; a dead letter may be redriven.
_OVER = frozenset({Outcome.COMPLETED, Outcome.FAILED, Outcome.REVOKED, Outcome.IGNORED, Outcome.REPLACED})
_UNSETTLED = frozenset({Outcome.UNSETTLED, Outcome.LEASE_LOST})
_HISTORY = frozenset({Outcome.FAILED, Outcome.DEAD_LETTERED, Outcome.RETRY})
_CLAIMED = 2


def _way(item: Settlement) -> str:
    """What happens to the message."""
    if item.retry is not None:
        return "retry"
    if item.outcome in HANDED_BACK:
        return "back"
    if item.outcome in _UNSETTLED:
        raise ValueError(f"{item.outcome.value} is no way to settle task {item.task_id}: its message would be lost")
    return "bury" if item.outcome is Outcome.DEAD_LETTERED else "finish"


def _keys(item: Settlement) -> str:
    """What happens to the keys of the task."""
    if item.key is None and not item.generation:
        return ""
    if item.outcome is Outcome.COMPLETED:
        return "keep"
    return "free" if item.outcome in _FREEING else ""


def _settlement(item: Settlement) -> Iterator[Argument]:
    way = _way(item)
    yield from (*item.lease, way, plain(item.task_id), item.generation, pack(item.worker), _keys(item))
    if way == "retry":
        yield from _retry(item)
    elif way == "back":
        yield from (number(item.snooze_until), int(item.behind))
    told = item.failure is not None and (way == "bury" or item.outcome in _HISTORY)
    consequences = bool(item.others or item.grown or item.follow_ups or item.chord)
    goes_on = item.outcome not in _OVER
    yield (
        ("f" if told else "")
        + ("r" if item.record else "")
        + ("c" if consequences else "")
        + ("p" if item.checkpoint else "")
        + ("w" if item.cancels else "")
        + ("o" if not goes_on and (item.checkpoint or item.outcome is not Outcome.COMPLETED) else "")
    )
    if told:
        yield from _failure(item)
    if item.record:
        yield from named_record(item.record)
    if consequences:
        yield from _consequences(item)
    if item.checkpoint:
        yield from checkpoint_arguments(item.checkpoint)
    if item.cancels:
        yield from map(plain, item.cancels)


def _retry(item: Settlement) -> Iterator[Argument]:
    retry = item.retry
    assert retry is not None
    yield from (plain(retry.queue), retry.priority, number(retry.run_at), number(retry.expires_at))
    yield from (plain(retry.limits), plain(retry.envelope), pack(retry.body))


def _failure(item: Settlement) -> Iterator[Argument]:
    failure = item.failure
    assert failure is not None  # the pipeline never buries without a reason
    yield from (item.outcome.value, number(item.started_at), plain(failure.reason))
    yield from (pack(failure.error_type), pack(failure.error), pack(failure.traceback))
    yield fingerprint(failure.error_type, failure.error)
    yield "1" if item.outcome in _HISTORY else "0"


def _consequences(item: Settlement) -> Iterator[Argument]:
    yield len(item.others)
    for record in item.others:
        yield from named_record(record)
    yield from texts_arguments(item.grown)
    yield from messages_arguments(item.follow_ups)
    yield len(item.chord)
    for part in item.chord:
        yield from part_arguments(part)


def _settlements(items: Sequence[Settlement]) -> Iterator[Argument]:
    yield len(items)
    for item in items:
        yield from _settlement(item)


def _live_state(status: int, started_at: float | None, *, revoked: bool) -> str:
    if status == _CLAIMED:  # who holds it may run it already, and then it ends as it will
        return "STARTED" if started_at else "PENDING"
    return "REVOKED" if revoked else "PENDING"


class LedgerPart(Part):
    """The ledger's side of the store."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        if not settlements:
            return []
        answers = self.database.call("settling.settle", _settlements(settlements))
        return [
            LOST if answer == 0 else Settled(True, tuple(map(text, answer))) if answer else HELD for answer in answers
        ]

    def store(self, record: Record) -> None:
        self.database.call("ledger.store", named_record(record))

    def records(self, task_ids: Sequence[str], *, live: bool = True) -> dict[str, Record]:
        found: dict[str, Record] = {}
        for start in range(0, len(task_ids), LOOKED_UP):
            wanted = task_ids[start : start + LOOKED_UP]
            records, waiting = self.database.call("ledger.records", [int(live), *texts_arguments(wanted)])
            found.update((text(task_id), to_record(task_id, fields)) for task_id, *fields in records)
            for row in waiting:
                self._add_live(row, found)
        return found

    @staticmethod
    def _add_live(row: Sequence[bytes], found: dict[str, Record]) -> None:
        """Tasks in the queue have no record yet, or one of an earlier generation."""
        task_id, generation, started_at = text(row[0]), int(row[1]), to_number(row[6])
        known = found.get(task_id)
        if known is not None and known.generation >= generation:
            return
        state = _live_state(int(row[5]), started_at, revoked=bool(row[7]))
        if known is not None and known.state == "RETRY" and state == "PENDING":
            return  # RETRY says more
        found[task_id] = Record(
            task_id,
            generation,
            state,
            state == "REVOKED",
            unpack_text(row[2]),
            text(row[3]),
            unpack_text(row[4]),
            0,
            started_at,
            snoozes=int(row[8]),
            due_at=to_number(row[9]),
        )

    def forget(self, task_id: str, *, result_only: bool = False) -> None:
        self.database.call("ledger.forget", [plain(task_id), int(result_only)])

    def attempts(self, task_id: str) -> list[AttemptRecord]:
        return [to_attempt(task_id, fields) for fields in self.database.call("ledger.attempts", [plain(task_id)])]

    def revoke(self, task_ids: Iterable[str], keep: float, by: By | None = None) -> list[str]:
        said = ("", "") if by is None else by_arguments(by)
        wanted = [number(keep), *said, *texts_arguments(task_ids)]
        return [text(task_id) for task_id in self.database.call("ledger.revoke", wanted)]

    def save_group(self, group_id: str, result: str | bytes, expires_at: float | None) -> None:
        self.database.call("ledger.save_group", [plain(group_id), pack(result), number(expires_at)])

    def get_group(self, group_id: str) -> str | bytes | None:
        return unpack(self.database.call("ledger.get_group", [plain(group_id)]))

    def delete_group(self, group_id: str) -> None:
        self.database.call("ledger.delete_group", [plain(group_id)])

    def prune(self, now: float, *, attempts_before: float, dead_letters_before: float | None) -> int:
        bounds = [number(bound) for bound in (now, attempts_before, dead_letters_before, now - BROADCAST_KEPT)]
        total = 0
        while deleted := self.database.call("pruning.prune", [*bounds, AT_ONCE]):
            total += deleted
        return total
