"""How much is claimed follows how fast it is finished."""

from __future__ import annotations

import pytest

from celeriac.transport.prefetch import MOST, Prefetch


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("celeriac.transport.prefetch.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def run(held: Prefetch, clock: Clock, *, tasks: int, each: float) -> None:
    for _ in range(tasks):
        clock.now += each
        held.finished()


def test_begins_with_what_the_consumer_asked_for(clock: Clock) -> None:
    assert Prefetch(4).target() == 4


def test_no_count_is_no_limit_but_the_upper_bound(clock: Clock) -> None:
    assert Prefetch(0).target() == MOST


def test_short_tasks_are_claimed_by_fifty_milliseconds(clock: Clock) -> None:
    held, target = Prefetch(2), 0
    for _ in range(20):
        run(held, clock, tasks=100, each=0.001)
        target = held.target()
    assert 45 <= target <= 50


def test_there_is_an_upper_bound(clock: Clock) -> None:
    held, target = Prefetch(2), 0
    for _ in range(20):
        run(held, clock, tasks=1000, each=0.00001)
        target = held.target()
    assert target == MOST


def test_long_tasks_are_not_hoarded_after_short_ones(clock: Clock) -> None:
    held = Prefetch(2)
    for _ in range(20):
        run(held, clock, tasks=100, each=0.001)
        held.target()
    clock.now += 1.0  # one task runs for a second
    assert held.target() == 2


@pytest.mark.parametrize("gap", [0.0, 0.0002, 0.005])
def test_long_tasks_that_end_side_by_side_are_not_short_ones(clock: Clock, gap: float) -> None:
    """Four processes, a second a task: one after the other, but all within a moment."""
    held, targets = Prefetch(4), set()
    for _ in range(10):
        clock.now += 1.0
        for _ in range(4):
            clock.now += gap
            held.finished()
            targets.add(held.target())
    assert targets == {4}


def test_a_pause_without_work_is_no_measure_of_the_work(clock: Clock) -> None:
    held = Prefetch(1)
    for _ in range(20):
        run(held, clock, tasks=100, each=0.001)
        held.target()
    clock.now += 60.0
    held.rest()
    run(held, clock, tasks=100, each=0.001)
    assert held.target() >= 45


def test_a_fixed_prefetch_stays_fixed(clock: Clock) -> None:
    held = Prefetch(3, adaptive=False)
    run(held, clock, tasks=1000, each=0.0001)
    assert held.target() == 3
