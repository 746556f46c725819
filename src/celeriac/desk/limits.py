"""What limits hold back, for people: ``app.limits``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from celeriac.core.limits import Rule, unpack, with_rule
from celeriac.publish.limits import declared_rules
from celeriac.store.protocols import Store

#: Lanes that are read, the fullest view that people look at.
MOST_LANES = 10_000


class LimitState(NamedTuple):
    """One limit for one value of its key: what runs under it, and what waits with it.

    `running` is counted where that is limited, and None otherwise. `rule` has the numbers: `slots` at once; a start `every` so many seconds, `burst` at once. `waiting` counts messages
    that may wait for another of their limits; `full` says that something was last seen to wait for this one.
    """

    name: str
    value: str
    rule: Rule | None
    running: int | None
    waiting: int
    full: bool


class Limits:
    """The limits of an app, as they are now."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __iter__(self) -> Iterator[LimitState]:
        """Those under which something runs or waits, the most waiting first."""
        return iter(states(self._app.store, declared_rules(self._app)))

    def declared(self) -> dict[str, Rule]:
        """The numbers of all limits that the app's tasks declare, by name."""
        return declared_rules(self._app)


def states(store: Store, rules: Mapping[str, Rule]) -> list[LimitState]:
    """What runs and waits under each limit; reads at most 10,000 lanes."""
    taken = Counter(store.taken())
    waiting: Counter[str] = Counter()
    known: dict[str, Rule] = {}
    full = set()
    for lane in store.lanes(MOST_LANES):
        full.add(lane.blocked_on)
        for bound in unpack(lane.limits):
            waiting[bound.bucket] += lane.waiting
            known[bound.bucket] = with_rule(bound, rules).rule
    found = [_state(bucket, taken[bucket], waiting[bucket], known, rules, bucket in full) for bucket in taken | waiting]
    return sorted(found, key=lambda state: (-state.waiting, -(state.running or 0), state.name, state.value))


def _state(
    bucket: str, running: int, waiting: int, known: Mapping[str, Rule], rules: Mapping[str, Rule], full: bool
) -> LimitState:
    name, _, value = bucket.partition("\x1f")
    rule = known.get(bucket) or rules.get(name)
    return LimitState(name, value, rule, running if rule is None or rule.slots is not None else None, waiting, full)
