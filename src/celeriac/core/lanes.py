"""Which limited messages go next: a pure decision, made under the store's lock.

A *lane* is a queue's waiting messages of one priority that are limited in the same way. A *bucket* is what counts for one
limit and one value of its key: slots that are taken, and the moment from which a rate lets the next one start.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from celeriac.core.limits import Bound, Rule

#: Rounding of the clock: a start that is due in a microsecond is due.
_SLACK = 1e-6


@dataclass(slots=True)
class Bucket:
    """The state of one limit for one value of its key; `tat` (lease clock, seconds) as in the GCRA.

    The generic cell rate algorithm (ATM Forum, Traffic Management 4.0, section 4.4.2) knows a rate by the theoretical
    arrival time of the next start: one that comes earlier than that by more than the burst allows has to wait.
    """

    rule: Rule
    taken: int = 0
    tat: float | None = None

    def begin(self, now: float) -> None:
        """Forget what no start can have brought: a clock that began anew stops nothing for longer than a burst."""
        if self.tat is not None and self.rule.every is not None:
            self.tat = min(self.tat, now + self.rule.every * self.rule.burst)

    def room(self, now: float) -> int | None:
        """How many more may start now; None where nothing stops them."""
        rule, rooms = self.rule, []
        if rule.slots is not None:
            rooms.append(max(0, rule.slots - self.taken))
        if rule.every is not None:
            ahead = self._arrival(now) - now
            rooms.append(max(0, math.floor((rule.every * rule.burst - ahead + _SLACK) / rule.every)))
        return min(rooms) if rooms else None

    def _arrival(self, now: float) -> float:
        return max(self.tat or now, now)

    def take(self, count: int, now: float) -> None:
        """So many start now."""
        self.taken += count
        if self.rule.every is not None:
            self.tat = self._arrival(now) + count * self.rule.every

    def give_back(self) -> None:
        """One that was to start has not."""
        self.taken -= 1
        if self.rule.every is not None and self.tat is not None:
            self.tat -= self.rule.every

    def free_at(self, now: float) -> float | None:
        """From when the rate lets one start, where it is the rate that stops it now."""
        rule = self.rule
        if rule.every is None or (rule.slots is not None and self.taken >= rule.slots):
            return None
        return max(now, self._arrival(now) - rule.every * (rule.burst - 1))


@dataclass(slots=True)
class Lane:
    """Waiting messages that nothing tells apart: how many are known to wait, and what limits them."""

    queue: str
    priority: int
    limits: str
    waiting: int
    bounds: list[Bound]
    #: What came of the look: so many may start, and the bucket that has no room for more.
    take: int = 0
    blocked_on: str | None = None


@dataclass(slots=True)
class Buckets:
    """The buckets that some lanes need, as the store has them."""

    now: float
    states: dict[str, Bucket] = field(default_factory=dict)

    def full(self, bounds: Iterable[Bound]) -> str | None:
        """The first of these that has no room."""
        for bound in bounds:
            if self.states[bound.bucket].room(self.now) == 0:
                return bound.bucket
        return None

    def take(self, bounds: Iterable[Bound]) -> None:
        """One that has all these limits starts."""
        for bound in bounds:
            self.states[bound.bucket].take(1, self.now)

    def give_back(self, bounds: Iterable[Bound]) -> None:
        """One that has all these limits was to start, and is over before it does."""
        for bound in bounds:
            self.states[bound.bucket].give_back()

    def with_room(self) -> dict[str, int]:
        """Those with room, and for how many; lanes that wait for them may be looked at again."""
        rooms = {bucket: state.room(self.now) for bucket, state in self.states.items()}
        return {bucket: room for bucket, room in rooms.items() if room}


def decide(lanes: Sequence[Lane], buckets: Buckets, wanted: int) -> None:
    """Say of each lane how many may start, in turns of one, and which bucket stops the others.

    `lanes` are in the order of their turns, the highest priority first; those of a lower one have theirs when the others
    have had all of theirs. No more than `wanted` start.
    """
    for state in buckets.states.values():
        state.begin(buckets.now)
    for priority in sorted({lane.priority for lane in lanes}, reverse=True):
        wanted -= _take_turns([lane for lane in lanes if lane.priority == priority], buckets, wanted)


def _take_turns(lanes: list[Lane], buckets: Buckets, wanted: int) -> int:
    started, going = 0, lanes
    while going and started < wanted:
        still = []
        for lane in going:
            if started >= wanted:
                break
            if lane.take >= lane.waiting:
                continue
            lane.blocked_on = buckets.full(lane.bounds)
            if lane.blocked_on is None:
                buckets.take(lane.bounds)
                lane.take += 1
                started += 1
                still.append(lane)
        going = still
    return started


def rules_of(lanes: Iterable[Lane]) -> Mapping[str, Rule]:
    """The buckets that the lanes need, with their numbers."""
    return {bound.bucket: bound.rule for lane in lanes for bound in lane.bounds}
