"""Random canvases, run in this process: quick, so that many are tried."""

from __future__ import annotations

import os
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celeriac.core import workflow_nodes
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


#: From how many members on a group is one node of its workflow: all but the largest that are tried are none, or most are.
folded = st.sampled_from([workflow_nodes.FOLDED_ABOVE, 1])


@many
@given(canvas=canvases(), order=st.integers(0, 1000), folded=folded)
def test_it_comes_to_what_plain_python_does(place: Place, canvas: Canvas, order: int, folded: int) -> None:
    with patch.object(workflow_nodes, "FOLDED_ABOVE", folded), place.sent(canvas) as sent:
        place.driver.run(order)
        sent.check()
        sent.check_workflow()


@many
@given(canvas=canvases(failing=True), order=st.integers(0, 1000), folded=folded)
def test_what_follows_a_failure_fails_and_runs_once_that_is_redriven(
    place: Place, canvas: Canvas, order: int, folded: int
) -> None:
    with patch.object(workflow_nodes, "FOLDED_ABOVE", folded), place.sent(canvas) as sent:
        place.driver.run(order)
        sent.check()
        sent.redrive()
        place.driver.run(order)
        sent.check(redriven=True)
        sent.check_workflow()
