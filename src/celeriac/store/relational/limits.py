"""Limited messages: claimed from their lanes, one process at a time, as far as their limits let them start.

Slots are given back by triggers of the schema, whichever statement ends a lease. Here they are taken.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from celeriac.core.lanes import Bucket, Buckets, Lane, decide, rules_of
from celeriac.core.limits import Bound, Rule, unpack, with_rule
from celeriac.core.message import LaneSize, Lease
from celeriac.store.relational.part import Part
from celeriac.store.relational.session import Session

#: Looks at the lanes in one claim: each leaves the lanes it has seen blocked, emptied, or served.
_ROUNDS = 8
#: Rates read at once, and seconds by which the clocks of two processes may differ.
LOOKED_UP, _SETTLING = 1000, 1.0
#: Rows deleted in one transaction, so that no claim waits long for it.
PRUNED_AT_ONCE = 1000
#: Where a claimed row has its limits, and one from a lane when it expires.
_LIMITS, _EXPIRES = 12, 13
#: Lanes looked at beyond those that are wanted: some will be blocked.
_MORE_LANES = 16


@dataclass(slots=True)
class Claim:
    """Who claims, and when, by lease clock and wall clock: a row of ``limits.claim`` or ``limits.relay`` begins with ``held``."""

    statement: str
    held: tuple[Any, ...]
    clock: float
    now: float
    rules: Mapping[str, Rule]


class LimitsPart(Part):
    """What waits in lanes."""

    #: The limits that this process's tasks declare: they outrank the numbers that messages carry.
    rules: Mapping[str, Rule] = {}

    def hold(self, lease: Lease, limits: str) -> bool:
        """Put a message that came without limits into its lane; false when the lease is lost."""
        with self.database.writing() as raw:
            return raw.run("limits.hold", (limits, lease.message_id, lease.token)).rowcount == 1

    def lanes(self, most: int) -> list[LaneSize]:
        """What waits for its limits, at most so many lanes."""
        with self.database.reading() as raw:
            rows = raw.run("limits.lanes", (most,)).fetchall()
        return [LaneSize(*row) for row in rows]

    def look_again(self) -> int:
        """Have those looked at whose time is further away than their rate can have put it."""
        count, after = 0, ""
        while rows := self._put_off(after):
            after, clock = rows[-1][0], self.lease_now()
            late = [bucket for bucket, free_at, text in rows if text and self._is_late(bucket, text, free_at - clock)]
            if late:
                with self.database.writing() as raw:
                    raw.run("limits.look_again", (clock, json.dumps(late)))
            count += len(late)
        return count

    def _put_off(self, after: str) -> list[Any]:
        with self.database.reading() as raw:
            return raw.run("limits.put_off", (self.lease_now(), after, LOOKED_UP)).fetchall()

    def _is_late(self, bucket: str, text: str, ahead: float) -> bool:
        return any(
            bound.bucket == bucket and (bound.rule.every is None or ahead > bound.rule.every + _SETTLING)
            for bound in bounds(text, self.rules)
        )

    def _prune_rates(self) -> int:
        """Forget rates whose next start was due: they are as good as new."""
        total = 0
        while True:
            with self.database.writing() as raw:
                pruned = raw.run("limits.prune_rates", (self.lease_now(), PRUNED_AT_ONCE)).rowcount
            total += pruned
            if pruned < PRUNED_AT_ONCE:
                return total

    def taken(self) -> dict[str, int]:
        """The slots that are taken, by bucket."""
        with self.database.reading() as raw:
            return dict(raw.run("limits.taken").fetchall())


def to_look_at(raw: Session, claim: Claim, queues: Sequence[str]) -> bool:
    """Whether lanes of these queues are open, after what was freed is known; nobody else claims from lanes from now on."""
    if not raw.run("limits.work", (claim.clock, json.dumps(list(queues)))).fetchone()[0]:
        return False
    raw.run("limits.lock")
    wake_freed(raw, claim.clock)
    return True


def wake_freed(raw: Session, clock: float) -> None:
    """Open the lanes that may have room again: a slot was given back, a rate lets the next one start."""
    raw.run("limits.enter")
    freed = Counter(bucket for (bucket,) in raw.run("limits.freed").fetchall())
    freed.update({bucket for (bucket,) in raw.run("limits.due_rates", (clock,)).fetchall()})
    _wake(raw, freed)


def _wake(raw: Session, rooms: Mapping[str, int]) -> None:
    """Have as many lanes looked at again as there is room for, in every queue: not each has a worker."""
    for bucket, room in rooms.items():
        for (queue,) in raw.run("limits.blocked_queues", (bucket,)).fetchall():
            raw.run("limits.wake", (bucket, queue, room))


def take(raw: Session, claim: Claim, queue: str, wanted: int) -> list[Sequence[Any]]:
    """Up to ``wanted`` rows from the lanes of a queue, in turns."""
    found: list[Sequence[Any]] = []
    for _ in range(_ROUNDS):
        missing = wanted - len(found)
        lanes = _open(raw, claim, queue, missing) if missing else []
        if not lanes:
            break
        found += _take_from(raw, claim, lanes, missing)
    return found


def take_anywhere(raw: Session, claim: Claim, wanted: int) -> list[Sequence[Any]]:
    """Up to ``wanted`` rows from the lanes of all queues, and limited suspects: for a broker that is no store."""
    if not raw.run("limits.outbox_work", (claim.clock,)).fetchone()[0]:
        return []
    raw.run("limits.lock")
    wake_freed(raw, claim.clock)
    found = _take_suspects(raw, claim, wanted)
    for (queue,) in raw.run("limits.open_queues").fetchall():
        if len(found) < wanted:
            found += take(raw, claim, queue, wanted - len(found))
    return found


def _take_suspects(raw: Session, claim: Claim, wanted: int) -> list[Sequence[Any]]:
    found: list[Sequence[Any]] = []
    for message_id, text, expires_at in raw.run("limits.all_suspects").fetchall():
        over = _is_over(claim, expires_at)
        if len(found) < wanted and (over or _admits(raw, claim, text)):
            rows = raw.run("limits.relay_suspect", (*claim.held, message_id)).fetchall()
            take_slots(raw, [] if over else rows, claim.rules)
            found += rows
    return found


def _open(raw: Session, claim: Claim, queue: str, wanted: int) -> list[Lane]:
    rows = raw.run("limits.open", (queue, wanted, wanted + _MORE_LANES)).fetchall()
    return [Lane(queue, priority, text, waiting, bounds(text, claim.rules)) for priority, text, waiting in rows]


def bounds(text: str, rules: Mapping[str, Rule]) -> list[Bound]:
    """A message's limits, with the numbers that are declared now."""
    known = _unpacked(text)
    return [with_rule(bound, rules) for bound in known] if rules else known


@lru_cache(maxsize=1024)
def _unpacked(text: str) -> list[Bound]:
    return unpack(text)


def _take_from(raw: Session, claim: Claim, lanes: list[Lane], wanted: int) -> list[Sequence[Any]]:
    buckets = read_buckets(raw, rules_of(lanes), claim.clock)
    decide(lanes, buckets, wanted)
    rows = _claim(raw, claim, [lane for lane in lanes if lane.take])
    # What expired as it waited is claimed to be refused, and starts nothing.
    starting = [row for row in rows if not _is_over(claim, row[_EXPIRES])]
    for row in rows:
        if _is_over(claim, row[_EXPIRES]):
            buckets.give_back(bounds(row[_LIMITS], claim.rules))
    take_slots(raw, starting, claim.rules)
    write_rates(raw, buckets, {lane.blocked_on for lane in lanes})
    _leave(raw, lanes, wanted)
    _wake(raw, buckets.with_room())
    return [row[:_EXPIRES] for row in rows]


def _is_over(claim: Claim, expires_at: float | None) -> bool:
    return expires_at is not None and expires_at < claim.now


def read_buckets(raw: Session, rules: Mapping[str, Rule], clock: float) -> Buckets:
    """What these buckets have counted."""
    rows = raw.run("limits.buckets", (json.dumps(list(rules)),)).fetchall()
    return Buckets(clock, {bucket: Bucket(rules[bucket], taken, tat) for bucket, taken, tat in rows})


def _claim(raw: Session, claim: Claim, lanes: Sequence[Lane]) -> list[Sequence[Any]]:
    if not lanes:
        return []
    if raw.lane_by_lane:
        return [
            row
            for lane in lanes
            for row in raw.run(
                claim.statement, (*claim.held, lane.queue, lane.priority, lane.limits, lane.take)
            ).fetchall()
        ]
    wanted = json.dumps([[lane.queue, lane.priority, lane.limits, lane.take] for lane in lanes])
    return raw.run(claim.statement, (*claim.held, wanted)).fetchall()


def take_slots(raw: Session, rows: Iterable[Sequence[Any]], rules: Mapping[str, Rule]) -> None:
    """Note what the claimed rows hold from now on."""
    slots = [
        (row[0], bound.bucket) for row in rows for bound in bounds(row[_LIMITS], rules) if bound.rule.slots is not None
    ]
    if slots:
        raw.run("limits.take_slots", (json.dumps(slots),))


def write_rates(raw: Session, buckets: Buckets, blocked: set[str | None]) -> None:
    """Keep how far ahead the rates are, and when somebody who waits for one goes on."""
    rates = [
        (bucket, state.tat, state.free_at(buckets.now) if bucket in blocked else None)
        for bucket, state in buckets.states.items()
        if state.rule.every is not None and state.tat is not None
    ]
    if rates:
        raw.run("limits.set_rates", (json.dumps(rates),))


def _leave(raw: Session, lanes: Sequence[Lane], wanted: int) -> None:
    """Give the lanes their next turn; blocked ones and emptied ones are not looked at again."""
    last: int = raw.run("limits.next_turns", (len(lanes),)).fetchone()[0]
    turns = range(last - len(lanes) + 1, last + 1)
    seen = [
        (lane.queue, lane.priority, lane.limits, turn if lane.take else None, lane.blocked_on)
        for lane, turn in zip(lanes, turns, strict=True)
    ]
    raw.run("limits.visited", (json.dumps(seen),))
    # Of one in which fewer wait than were asked for, all may have been taken.
    emptied = [
        key[:3] for key, lane in zip(seen, lanes, strict=True) if lane.waiting <= lane.take and lane.waiting < wanted
    ]
    if emptied:
        raw.run("limits.emptied", (json.dumps(emptied),))


def take_suspect(raw: Session, claim: Claim, queue: str, below: int) -> list[Any] | None:
    """The row of the first suspect that may start now, claimed: alone, and so outside its lane."""
    raw.run("limits.lock")
    for message_id, text, expires_at in raw.run("limits.suspects", (queue, below)).fetchall():
        free = text is None or _is_over(claim, expires_at)
        if free or _admits(raw, claim, text):
            rows = raw.run("queue.claim_suspect", (*claim.held, message_id)).fetchall()
            take_slots(raw, [] if free else rows, claim.rules)
            return rows
    return None


def _admits(raw: Session, claim: Claim, text: str) -> bool:
    lane = Lane("", 0, text, 1, bounds(text, claim.rules))
    buckets = read_buckets(raw, rules_of([lane]), claim.clock)
    decide([lane], buckets, 1)
    write_rates(raw, buckets, {lane.blocked_on})
    return lane.take == 1
