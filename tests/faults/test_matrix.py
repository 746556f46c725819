"""The short form of the fault matrix: a few of its cells. `make faults FAULTS=full` runs them all."""

from __future__ import annotations

import pytest

from tests.faults.cell import SIZES
from tests.faults.injections import Fault, answers, processes, servers
from tests.faults.matrix import run_cell

CELLS: list[tuple[str, type[Fault]]] = [
    ("sqlite", processes.WorkerKilled),
    ("sqlite", processes.ChildDiesSettling),
    ("sqlite", answers.SettleLost),
    ("postgresql", processes.WorkerKilled),
    ("postgresql", answers.ClaimLost),
    ("postgresql", servers.ServerRestarted),
]


@pytest.mark.parametrize(("broker", "fault"), CELLS, ids=lambda value: getattr(value, "__name__", value))
def test_what_must_be_zero_is(broker: str, fault: type[Fault], seed: int, request: pytest.FixtureRequest) -> None:
    outcome = run_cell(request.getfixturevalue(broker), fault(), seed, SIZES["short"])
    told = f"SEED={seed}, {outcome.folder}/report.txt: {outcome.error}{outcome.verdict and outcome.verdict.zeros}"
    assert outcome.good, told
    assert outcome.verdict is not None, outcome.reason
    assert outcome.verdict.accepted >= SIZES["short"].units, told
    assert outcome.verdict.injected > 0, told
