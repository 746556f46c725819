"""A soft time limit is the body's: it is raised there and nowhere else."""

from __future__ import annotations

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from celeriac.core.attempt import Attempt
from celeriac.core.current import attempting
from celeriac.core.message import DeliveryFacts, Lease
from celeriac.execution.limits import left_to_celery, soft_limit_passed


def attempt(*, entered: bool, over: bool) -> Attempt:
    return Attempt("id", "name", DeliveryFacts(Lease(1, 1)), "worker", 0.0, entered=entered, over=over)


def test_it_is_raised_in_the_body() -> None:
    with attempting(attempt(entered=True, over=False)), pytest.raises(SoftTimeLimitExceeded):
        soft_limit_passed()


@pytest.mark.parametrize(("entered", "over"), [(False, False), (True, True)], ids=["before", "after"])
def test_it_is_not_raised_beside_the_body(entered: bool, over: bool) -> None:
    with attempting(attempt(entered=entered, over=over)):
        soft_limit_passed()


def test_it_is_not_raised_between_tasks() -> None:
    soft_limit_passed()


def test_a_task_that_is_left_to_celery_has_its_limit() -> None:
    with left_to_celery, pytest.raises(SoftTimeLimitExceeded):
        soft_limit_passed()
    soft_limit_passed()
