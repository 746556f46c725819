"""Coroutines where Celery, or somebody's decorator, sees a plain function."""

from __future__ import annotations

import functools

import pytest

from celeriac.execution.task import awaited
from tests.integration.sites import Site
from tests.integration.tasks import Point
from tests.support.worker import Pool


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_a_coroutine_in_a_wrapper_is_awaited(site: Site, pool: Pool) -> None:
    with site.working(pool):
        assert site.move_later.delay(Point(x=3), 4).get(timeout=30) == {"x": 7}
        assert site.echo_within.delay("back").get(timeout=30) == "back"


def test_models_arrive_as_models_and_are_checked(site: Site) -> None:
    with site.working("solo"):
        failed = site.move_later.delay({"x": "no number"}, 4)
        failed.get(timeout=30, propagate=False)
        assert "ValidationError" in site.letter(failed.id).error_type


def test_a_decorated_body_is_another_than_the_one_it_decorates() -> None:
    async def body() -> str:
        return "body"

    first = awaited(body)

    @functools.wraps(body)
    async def decorated() -> str:
        return f"decorated {await body()}"

    assert (first(), awaited(decorated)()) == ("body", "decorated body")
    assert awaited(body) is first
