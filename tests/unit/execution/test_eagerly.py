"""A declared policy where tasks are called in place, as in a test suite with `task_always_eager`."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from pathlib import Path
from pickle import dumps, loads
from typing import Any

import pytest
from celery import chain
from celery.result import EagerResult

from celeriac import Celery, Retries
from celeriac.execution import eagerly

#: What ran, and what was told.
SEEN: list[Any] = []


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    SEEN.clear()
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/a.db", set_as_current=False)
    app.conf.task_always_eager = True
    yield app
    app.close()


def declare(app: Celery, fails: int, **options: Any) -> Any:
    @app.task(bind=True, name="t", shared=False, **options)
    def body(self: Any, *args: Any) -> str:
        SEEN.append(self.request.retries)
        if self.request.retries < fails:
            raise ValueError("not yet")
        return "done"

    app.finalize()
    return app.tasks["t"]


def test_it_is_tried_as_often(app: Celery) -> None:
    assert declare(app, 2, retries=Retries(5, backoff=0.01)).delay().get() == "done"
    assert SEEN == [0, 1, 2]


def test_it_gives_up_and_tells(app: Celery) -> None:
    @app.task(name="told", shared=False)
    def told(report: dict[str, Any]) -> None:
        SEEN.append(report)

    result = declare(app, 9, retries=Retries(1, on_exhausted="told")).delay(7)
    with pytest.raises(ValueError, match="not yet"):
        result.get()
    assert SEEN[:2] == [0, 1]
    assert (SEEN[2]["args"], SEEN[2]["retries"], SEEN[2]["reason"], len(SEEN)) == ([7], 1, "exhausted", 3)


def test_its_result_says_how_far_it_was_last(app: Celery) -> None:
    @app.task(bind=True, name="fill", shared=False, retries=Retries(2, backoff=0.01))
    def fill(self: Any, how: str) -> None:
        for done in range(1, 4):
            self.progress(done, 3.0, how if done == 3 else None)
        if how == "inner":
            fill.apply(("no",)).get()
        if self.request.retries < (how == "again"):
            raise ValueError("not yet")
        if how == "fails":
            raise KeyError(how)

    for how in ("once", "inner", "again", "fails"):
        for result in (fill.delay(how), fill.apply((how,)), copy(fill.apply((how,))), loads(dumps(fill.apply((how,))))):
            assert (result.progress.done, result.progress.total, result.progress.note) == (3, 3, how)
            assert (result.progress.fraction, result.workflow_id) == (1.0, None)
    assert isinstance(fill.delay("once"), EagerResult)
    assert eagerly._SAID == {}, "nothing is kept of what is over"
    silent = declare(app, 0).delay()
    assert (silent.progress, silent.workflow_id) == (None, None)
    assert chain(fill.si("step"), fill.si("end")).apply_async().progress.note == "end"


def test_so_does_that_of_one_that_goes_through_rows(app: Celery) -> None:
    @app.task(bind=True, name="rows", shared=False)
    def rows(self: Any, stop: int, source: Any, total: float | None = None) -> None:
        for row in self.iterate(source, total=total):
            if row == stop:
                return

    assert rows.delay(2, [0, 1, 2, 3]).progress[:3] == (2, 4, None)
    assert rows.delay(9, [0, 1, 2, 3], total=8).progress[:3] == (4, 8, None)
    rows(9, [0, 1])  # as a function, with nobody to tell


def test_what_declares_nothing_is_tried_once(app: Celery) -> None:
    result = declare(app, 1).delay()
    with pytest.raises(ValueError, match="not yet"):
        result.get()
    assert SEEN == [0]


def test_the_apps_policy_is_for_what_declares_nothing(app: Celery) -> None:
    app.conf.celeriac_retries = 1
    assert declare(app, 1).delay().get() == "done"


def test_a_call_as_a_function_raises(app: Celery) -> None:
    task = declare(app, 1, retries=3)
    with pytest.raises(ValueError, match="not yet"):
        task()
    assert SEEN == [0]
