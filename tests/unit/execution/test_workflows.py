"""Which workflows are cancelled, as a worker knows it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from celeriac.execution.workflows import ALL_AGAIN, KnownCancelled


class Cancelled(SimpleNamespace):
    """A store of which only this is asked: ``known`` has when each was cancelled, on the clock of the wall."""

    lease: float = 0.0
    wall: float = 1_000.0

    def __init__(self) -> None:
        super().__init__(known={}, asked=[])

    def lease_now(self) -> float:
        return self.lease

    def now(self) -> float:
        return self.wall

    def cancelled_workflows(self, since: float = 0.0) -> frozenset[str]:
        self.asked.append(since)
        return frozenset(name for name, at in self.known.items() if at >= since)

    def pass_time(self, seconds: float) -> None:
        self.lease += seconds
        self.wall += seconds


def test_those_claimed_together_ask_once_and_later_ones_only_for_the_latest() -> None:
    known, store = KnownCancelled(), Cancelled()
    given: Any = store
    store.known["old"] = 1.0
    store.pass_time(1)
    assert [known.has(given, name, 0.5) for name in ("old", "w", "w")] == [True, False, False]
    assert store.asked == [0.0]
    store.pass_time(1)
    store.known["w"] = store.wall
    store.pass_time(1)
    assert known.has(given, "w", 2.5)
    assert known.has(given, "old", 2.5)
    assert len(store.asked) == 2
    assert store.asked[-1] > 1.0


def test_what_was_cancelled_by_a_clock_that_had_been_set_back_is_known_within_a_minute() -> None:
    known, store = KnownCancelled(), Cancelled()
    given: Any = store
    assert not known.has(given, "w", 0.0)
    store.known["w"] = 5.0
    store.pass_time(ALL_AGAIN + 1)
    assert known.has(given, "w", store.lease)
