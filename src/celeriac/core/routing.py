"""How a worker shares itself out among its queues: a pure decision, made before each claim."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar


@dataclass(frozen=True, slots=True)
class Share:
    """A queue's place among the others of a worker.

    `weight` is its share against those that are not strict; a `strict` one goes before all of them. A worker holds
    `most` of its messages at once; None for as many as it likes.
    """

    weight: int = 1
    strict: bool = False
    most: int | None = None


#: Of a queue that says nothing, beside others that do.
_PLAIN = Share()


class Claimed(Protocol):
    """What the turns look at in what was claimed."""

    queue: str
    suspect: bool


T = TypeVar("T", bound=Claimed)
#: Claims at most so many from these queues, the first one first.
Claim = Callable[[Sequence[str], int], Sequence[T]]


class _Round(NamedTuple):
    """Queues to claim from, the first one first, and how many at most."""

    queues: list[str]
    most: int


class Turns:
    """Whose turn it is among the queues of one worker.

    Strict queues go first, in the order given. The others have shares by *stride scheduling* (Waldspurger and Weihl, 1995),
    the smooth weighted round-robin in which a turn may take many at once: a queue's time goes on by 1/weight with each
    message, and the one whose time is earliest is next. One that had nothing begins again at the time of those that
    were served: it makes up for nothing, and its share went to the others.

    `queues` are in the order in which the worker was given them; `shares` has those that declare something.
    """

    def __init__(self, queues: Sequence[str], shares: Mapping[str, Share]) -> None:
        self._shares = {queue: shares.get(queue, _PLAIN) for queue in queues}
        self._strict = [queue for queue in queues if self._shares[queue].strict]
        self._weighted = [queue for queue in queues if not self._shares[queue].strict]
        self._times = dict.fromkeys(self._weighted, 0.0)
        self._now = 0.0
        #: Whether it matters how much of each is held.
        self.capped = any(share.most is not None for share in self._shares.values())

    def may_claim(self, held: Mapping[str, int]) -> bool:
        """Whether there is a queue of which the worker may hold more than it does."""
        return any(self._left(queue, held) for queue in self._shares)

    def claim(self, room: int, held: Mapping[str, int], claim: Claim[T]) -> list[T]:
        """Claim up to `room` messages by `claim`, where so many of each queue are `held` already."""
        found: list[T] = []
        holds, dry = dict(held), set[str]()
        while len(found) < room and (wanted := self._round(room, room - len(found), holds, dry)):
            got = claim(*wanted)
            found += got
            dry |= self._account(wanted, got)
            for item in got:
                holds[item.queue] = holds.get(item.queue, 0) + 1
                if item.suspect:  # one that was claimed to be alone
                    return found
        return found

    def _round(self, room: int, left: int, held: Mapping[str, int], dry: set[str]) -> _Round | None:
        strict = [queue for queue in self._strict if queue not in dry and self._left(queue, held)]
        if strict:
            return self._from(strict, left, held)
        open_ = [queue for queue in self._weighted if queue not in dry and self._left(queue, held)]
        if not open_:
            return None
        ordered = sorted(open_, key=self._time)
        total = sum(self._shares[queue].weight for queue in ordered)
        fair = math.ceil(room * self._shares[ordered[0]].weight / total)
        return self._from(ordered, min(fair, left), held)

    def _from(self, ordered: list[str], most: int, held: Mapping[str, int]) -> _Round:
        """The first queue, and the others whose messages may be had in place of its own: not those that are counted."""
        first, shares = ordered[0], self._shares
        if shares[first].most is not None:
            return _Round([first], min(most, self._left(first, held)))
        return _Round([queue for queue in ordered if shares[queue].most is None], most)

    def _left(self, queue: str, held: Mapping[str, int]) -> int:
        most = self._shares[queue].most
        return 1 << 30 if most is None else max(0, most - held.get(queue, 0))

    def _time(self, queue: str) -> float:
        return max(self._times[queue], self._now)

    def _account(self, wanted: _Round, got: Sequence[T]) -> set[str]:
        """Move on the times of those that were served; returns the queues that were found empty."""
        served = dict.fromkeys(wanted.queues, 0)
        for item in got:
            served[item.queue] += 1
        with_some = [queue for queue in wanted.queues if served[queue]]
        weighted = [queue for queue in with_some if queue in self._times]
        begun = {queue: self._time(queue) for queue in weighted}
        self._now = max(self._now, min(begun.values(), default=self._now))
        for queue, start in begun.items():
            self._times[queue] = start + served[queue] / self._shares[queue].weight
        if len(got) < wanted.most:
            return set(wanted.queues)
        # Those before the last that gave some had no more to give.
        return set(wanted.queues[: wanted.queues.index(with_some[-1])])
