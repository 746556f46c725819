"""What circuits cost a task that depends on them while they are closed, in calls of functions, which no other load changes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery, Circuit, CircuitOpen
from celeriac.execution import breaker
from celeriac.execution.circuits import guarding, kept_back

#: Calls for one circuit and for each further one, in Python and in C: two looks, the way in and out, and the count of how it ended.
FIRST, FURTHER = 55, 60


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    made = Celery("shop", broker=f"sqlite:///{tmp_path}/shop.db")
    yield made
    for one in list(breaker._ALL):
        one.rest()
    made.store.close()


def of(app: Celery, *names: str) -> Any:
    """A task that declares circuits of these names."""

    @app.task(name=f"of.{'.'.join(names)}", circuits=[Circuit(name, open_for=30) for name in names], shared=False)
    def task() -> None:
        """Nothing."""

    return app.tasks[task.name]


def run(task: Any) -> None:
    assert kept_back(task) is None
    with guarding(task):
        pass


def calls(task: Any) -> int:
    """How many functions are called for one run; once a second some more, when the store is told."""
    return min(_calls(task) for _ in range(5))


def _calls(task: Any) -> int:
    counted = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        run(task)
    finally:
        sys.setprofile(before)
    return counted


def test_a_closed_circuit_costs_few_calls(app: Celery) -> None:
    one, two, three = (calls(of(app, *names)) for names in (["a"], ["b", "c"], ["d", "e", "f"]))
    assert one <= FIRST
    assert three - two <= FURTHER


def test_of_several_each_counts_and_each_keeps_back(app: Celery) -> None:
    task = of(app, "a", "b")
    with pytest.raises(OSError, match="down"), guarding(task):
        raise OSError("down")
    run(task)
    for name in ("a", "b"):
        app.circuits.breaker(name).sync()
    assert [(one.succeeded, one.failed) for one in app.circuits.list()] == [(1, 1), (1, 1)]
    app.circuits.open("b")
    with pytest.raises(CircuitOpen), guarding(task):
        raise AssertionError("it was let through")
