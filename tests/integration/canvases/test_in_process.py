"""Random canvases, run in this process: quick, so that many are tried."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.canvases.places import Place
from tests.integration.canvases.plan import Canvas
from tests.integration.canvases.strategies import canvases

#: More of them are tried with, for example, CELERIAC_CANVASES=2000.
EXAMPLES = int(os.environ.get("CELERIAC_CANVASES", "60"))
many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@many
@given(canvas=canvases(), order=st.integers(0, 1000))
def test_it_comes_to_what_plain_python_does(place: Place, canvas: Canvas, order: int) -> None:
    with place.sent(canvas) as sent:
        place.driver.run(order)
        sent.check()


@many
@given(canvas=canvases(failing=True), order=st.integers(0, 1000))
def test_what_follows_a_failure_fails_and_runs_once_that_is_redriven(place: Place, canvas: Canvas, order: int) -> None:
    with place.sent(canvas) as sent:
        place.driver.run(order)
        sent.check()
        sent.redrive()
        place.driver.run(order)
        sent.check(redriven=True)
