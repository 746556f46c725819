"""Which of several time limits hold."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from celeriac.execution.limits import Limits, effective, of_request, take_over

NONE = (None, None)
APP = (1800.0, 1740.0)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([NONE, NONE, APP], APP),
        ([NONE, NONE, NONE], NONE),
        # The nearest wins, each limit by itself.
        ([(10, 5), (20, 15), APP], (10, 5)),
        ([NONE, (2000, None), APP], (2000, 1740.0)),
        ([NONE, (None, 60), APP], (1800.0, 60)),
        ([(None, 5), (20, 15), APP], (20, 5)),
        ([(18, None), (20, 15), APP], (18, 15)),
        # A soft limit that would come after the hard one is no limit.
        ([NONE, (10, None), APP], (10, None)),
        ([(10, None), (None, 15), APP], (10, None)),
        # A hard limit that would come before the soft one neither.
        ([NONE, (None, 3000), APP], (None, 3000)),
        ([(None, 3000), NONE, APP], (None, 3000)),
        # Equal ones of one level are what was asked for.
        ([(10, 10), NONE, NONE], (10, 10)),
        # Celery's command line says 0 for none.
        ([NONE, NONE, (0, 0)], NONE),
    ],
)
def test_the_nearest_limit_that_makes_sense(levels: list[Limits], expected: Limits) -> None:
    assert effective(*levels) == expected


def test_the_workers_limits_are_the_last_resort_and_no_longer_the_pools() -> None:
    app = SimpleNamespace()
    worker = SimpleNamespace(app=app, time_limit=1800.0, soft_time_limit=1740.0)
    take_over(worker)
    assert (worker.time_limit, worker.soft_time_limit) == NONE
    task = SimpleNamespace(app=app, time_limit=None, soft_time_limit=None)
    assert of_request(task, None) == APP
    assert of_request(task, [5, None]) == (5, None)


def test_without_a_worker_a_request_has_its_tasks_limits() -> None:
    task = SimpleNamespace(app=SimpleNamespace(), time_limit=7, soft_time_limit=None)
    assert of_request(task, (None, None)) == (7, None)


def test_a_queues_limits_come_between_the_tasks_and_the_workers() -> None:
    app = SimpleNamespace(worker_time_limits=APP)
    task = SimpleNamespace(app=app, time_limit=None, soft_time_limit=None)
    assert of_request(task, None, (60, 50)) == (60, 50)
    assert of_request(task, None, (60, None)) == (60, None)
    assert of_request(task, (10, 5), (60, 50)) == (10, 5)
    task.time_limit = 20
    assert of_request(task, None, (60, 15)) == (20, 15)
