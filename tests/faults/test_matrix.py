"""The short form of the fault matrix: a few of its cells. `make faults FAULTS=full` runs them all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.brokers import BROKERS, Broker
from tests.faults.cell import SIZES
from tests.faults.injections import Fault, answers, processes, servers
from tests.faults.matrix import run_cell

SHORT: dict[str, tuple[type[Fault], ...]] = {
    "sqlite": (processes.WorkerKilled, processes.ChildDiesSettling, answers.SettleLost),
    "postgresql": (processes.WorkerKilled, answers.ClaimLost, servers.ServerRestarted),
    "redis+streams": (processes.WorkerKilled, servers.ServerKilled),
    # It has lost everything then. A worker that dies here leaves copies, and Redis's transport looks for those every ten seconds.
    "redis+ledger": (servers.ServerKilled,),
    "amqp+ledger": (processes.WorkerKilled,),
}
CELLS = [(broker, fault) for broker, faults in SHORT.items() if broker in BROKERS for fault in faults]


@pytest.mark.parametrize(("broker", "fault"), CELLS, ids=lambda value: getattr(value, "__name__", value))
def test_what_must_be_zero_is(broker: str, fault: type[Fault], started: Callable[[str], Broker], seed: int) -> None:
    outcome = run_cell(started(broker), fault(), seed, SIZES["short"])
    told = f"SEED={seed}, {outcome.folder}/report.txt: {outcome.error}{outcome.verdict and outcome.verdict.zeros}"
    assert outcome.good, told
    assert outcome.verdict is not None, outcome.reason
    assert outcome.verdict.accepted >= SIZES["short"].units, told
    assert outcome.verdict.injected > 0, told
    assert outcome.verdict.took_part["snoozes"] > 0, told
    assert outcome.verdict.took_part["pauses"] > 0, told
