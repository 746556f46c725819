"""Group commit: in groups, in time, and never given up."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from celeriac.core.attempt import Attempt, Failure, Outcome, Settled
from celeriac.core.message import DeliveryFacts, Lease
from celeriac.errors import StoreError, StoreUnavailable
from celeriac.execution import settler as module
from celeriac.execution.settler import GROUP, Settler


class Ledger:
    """Records each settle; fails as often as it is told."""

    def __init__(
        self, failures: int = 0, held: bool = True, chords: tuple[str, ...] = (), refuses: frozenset[str] = frozenset()
    ) -> None:
        self.refuses = refuses
        self.groups: list[int] = []
        self.failures = failures
        self.answer = Settled(held, chords)
        self.started: list[Lease] = []
        self.wrote = threading.Event()

    def settle(self, settlements: Any) -> list[Settled]:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("store.db", "database is locked")
        if self.refuses & {item.task_id for item in settlements}:
            raise StoreError("store.db", "string or blob too big")
        self.groups.append(len(settlements))
        self.wrote.set()
        return [self.answer for _ in settlements]

    def start(self, lease: Lease) -> bool:
        self.started.append(lease)
        return True

    def lease_now(self) -> float:
        return time.monotonic()


def attempt(row: int = 1) -> Attempt:
    return Attempt(f"t{row}", "n", DeliveryFacts(Lease(row, 1)), "w", time.time(), started_clock=time.monotonic())


def settler(ledger: Ledger) -> Settler:
    return Settler(ledger, completed.append, _say_so)  # type: ignore[arg-type]


def _say_so(mine: Attempt, error: Exception) -> bool:
    unrecordable.append(mine.task_id)
    return len(unrecordable) < 3


completed: list[str] = []
unrecordable: list[str] = []


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    completed.clear()
    unrecordable.clear()
    monkeypatch.setattr(module, "PAUSE", 0.001)


def test_a_full_group_is_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT", 60.0)
    ledger = Ledger()
    group = settler(ledger)
    for row in range(GROUP):
        group.settle(attempt(row), at_once=False)
    assert ledger.groups == [GROUP]


def test_one_alone_is_written_at_once() -> None:
    ledger = Ledger()
    settler(ledger).settle(attempt(), at_once=True)
    assert ledger.groups == [1]


def test_what_waits_for_company_does_not_wait_long() -> None:
    ledger = Ledger()
    settler(ledger).settle(attempt(), at_once=False)
    assert ledger.wrote.wait(10)
    assert ledger.groups == [1]


def test_it_insists_while_the_store_fails() -> None:
    ledger = Ledger(failures=5)
    settler(ledger).settle(attempt(), at_once=True)
    assert ledger.groups == [1]


def test_what_the_store_refuses_holds_up_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT", 60.0)
    ledger = Ledger(refuses=frozenset({"t3"}))
    group = settler(ledger)
    for row in range(GROUP):
        group.settle(attempt(row), at_once=False)
    assert ledger.groups == [1] * (GROUP - 1)
    assert unrecordable == ["t3"] * 3, "it is asked for another end until it has none"


def test_a_lost_lease_runs_no_error_callbacks() -> None:
    ledger = Ledger(held=False, chords=("g",))
    mine = attempt()
    called: list[str] = []
    mine.after_settle.append(lambda: called.append("errback"))
    settler(ledger).settle(mine, at_once=True)
    assert (mine.outcome, called, completed) == (Outcome.LEASE_LOST, [], [])


def test_after_a_settle_come_chords_and_error_callbacks() -> None:
    ledger = Ledger(chords=("g",))
    mine = attempt()
    called: list[str] = []
    mine.after_settle.append(lambda: called.append("errback"))
    settler(ledger).settle(mine, at_once=True)
    assert (called, completed) == (["errback"], ["g"])


def test_a_long_task_is_marked_as_started_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MARK_AFTER", 0.01)
    ledger = Ledger()
    group = settler(ledger)
    long = attempt()
    group.begin(long)
    deadline = time.monotonic() + 10
    while not long.marked and time.monotonic() < deadline:
        time.sleep(0.005)
    group.end(long)
    assert ledger.started == [Lease(1, 1)]


@pytest.mark.parametrize(("outcome", "told"), [(Outcome.DEAD_LETTERED, True), (Outcome.FAILED, False)])
def test_a_dead_letter_is_named_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, told: bool
) -> None:
    monkeypatch.setattr("sys.argv", ["celery", "-A", "config", "worker"])
    mine = attempt()
    mine.outcome, mine.failure = outcome, Failure("permanent", "ValueError", "no")
    settler(Ledger()).settle(mine, at_once=True)
    assert ("kept as a dead letter (permanent): celery -A config dead show t1" in caplog.text) == told


def test_what_a_time_limit_has_settled_already_is_not_told_of_as_a_lost_lease(caplog: pytest.LogCaptureFixture) -> None:
    mine, late = attempt(), attempt(2)
    late.deadline = SimpleNamespace(hardly=True)
    for one in (mine, late):
        settler(Ledger(held=False))._commit([one])
    assert [record.message for record in caplog.records] == [
        "task n[t1] ran, but its lease was lost meanwhile: nothing of this run was recorded",
        "task n[t2] has ended, after its time limit had settled it: nothing more of this run was recorded",
    ]
