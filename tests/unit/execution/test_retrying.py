"""Since when a budget counts, and by whose clock a retry waits."""

from __future__ import annotations

import time
from typing import Any

import pytest
from celery.app.task import Context

from celeriac.core.attempt import Attempt, AttemptRecord
from celeriac.core.message import DeliveryFacts, Lease
from celeriac.errors import StoreUnavailable
from celeriac.execution.retrying import _since, clocks_apart

BEGAN = 1000.0


class Store:
    """A history, or none that can be read."""

    def __init__(self, *runs: tuple[str, int, float | None], ahead: float | None = 0.0) -> None:
        self.runs, self.ahead = runs, ahead

    def now(self) -> float:
        if self.ahead is None:
            raise StoreUnavailable("here", "never asked")
        return time.time() + self.ahead

    def attempts(self, task_id: str) -> list[AttemptRecord]:
        if not self.runs:
            raise StoreUnavailable("here", "locked")
        return [
            AttemptRecord(task_id, generation, began, 900.0, "w", outcome, None, None, None)
            for outcome, generation, began in self.runs
        ]


class Task:
    """As much of a task as is asked."""

    def __init__(self, store: Store, **request: Any) -> None:
        self.request = Context(request)
        self.app = type("App", (), {"execution_room": type("Room", (), {"store": store})})


def attempt(crashes: int = 0) -> Attempt:
    facts = DeliveryFacts(Lease(1, 1), generation=2, crashes=crashes)
    return Attempt("id", "t", facts, "w", BEGAN)


def test_a_first_run_is_the_first() -> None:
    assert _since(Task(Store(), retries=0), attempt()) == BEGAN


def test_a_retry_is_told() -> None:
    assert _since(Task(Store(), retries=2, celeriac_since=7.0), attempt()) == 7.0
    assert _since(Task(Store(), retries=2, headers={"celeriac_since": 7}), attempt()) == 7.0


@pytest.mark.parametrize("told", [None, "yesterday", [1]])
def test_a_retry_of_somebody_who_does_not_tell_begins_now(told: object) -> None:
    assert _since(Task(Store(), retries=2, celeriac_since=told), attempt()) == BEGAN


def test_a_redrive_begins_anew() -> None:
    """Its message has its predecessor's headers, and no retries."""
    assert _since(Task(Store(), retries=0, celeriac_since=7.0), attempt()) == BEGAN


def test_a_run_that_crashed_was_the_first() -> None:
    store = Store(("retry", 1, 100.0), ("crashed", 1, 200.0), ("crashed", 2, 300.0), ("crashed", 2, 400.0))
    assert _since(Task(store, retries=0), attempt(crashes=2)) == 300.0
    assert _since(Task(Store(("crashed", 2, None)), retries=0), attempt(crashes=1)) == 900.0


def test_a_history_that_cannot_be_read_is_no_reason_to_fail() -> None:
    assert _since(Task(Store(), retries=0), attempt(crashes=1)) == BEGAN


@pytest.mark.parametrize(
    ("ahead", "apart"),
    [(300.0, 300.0), (-180.0, -180.0), (0.5, 0.0), (None, 0.0)],
    ids=["behind", "ahead", "right", "-"],
)
def test_a_wait_is_as_long_by_the_stores_clock(ahead: float | None, apart: float) -> None:
    assert clocks_apart(Task(Store(ahead=ahead)), attempt()) == pytest.approx(apart, abs=0.1)


def test_without_a_ledger_there_is_no_other_clock() -> None:
    assert clocks_apart(Task(Store(ahead=300.0)), None) == 0.0
