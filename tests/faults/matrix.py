"""Fault by fault, broker by broker: each cell in a folder of its own, which is kept where it is red."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults import report
from tests.faults.brokers import Broker, Missing
from tests.faults.cell import Cell, Size
from tests.faults.injections import Fault
from tests.faults.verdict import Verdict


@dataclass
class Outcome:
    """A cell's verdict; or why it makes no sense, or what went wrong before there was one."""

    broker: str
    fault: str
    verdict: Verdict | None = None
    reason: str = ""
    error: str = ""
    folder: Path | None = None
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return not self.error and (self.verdict is None or self.verdict.good)


def run_cell(broker: Broker, fault: Fault, seed: int, size: Size) -> Outcome:
    """Run one cell. What is red keeps its folder, with `report.txt` in it."""
    outcome = Outcome(broker.name, fault.name)
    if fault.need in broker.senseless:
        outcome.reason = broker.senseless[fault.need]
        return outcome
    folder, began = Path(tempfile.mkdtemp(prefix="celeriac-faults-")), time.monotonic()
    outcome.folder = folder
    try:
        _run(outcome, broker, fault, folder, seed, size)
    except Missing as missing:
        outcome.reason = str(missing)
    except Exception as error:  # noqa: BLE001  # told of in the table, where the others still have their turn
        outcome.error = f"{type(error).__name__}: {error}"
        Path(folder, report.FILE).write_text(outcome.error)
    outcome.seconds = time.monotonic() - began
    if outcome.good:
        shutil.rmtree(folder)
        outcome.folder = None
    return outcome


def _run(outcome: Outcome, broker: Broker, fault: Fault, folder: Path, seed: int, size: Size) -> None:
    cell = Cell(broker, fault, folder, seed, size)
    try:
        outcome.verdict = cell.run()
        if not outcome.verdict.good:
            report.write(folder, outcome.verdict, cell.books, cell.app)
    finally:
        cell.close()


def run_matrix(
    brokers: Sequence[Callable[[], Broker]], faults: Sequence[type[Fault]], seed: int, size: Size
) -> Iterator[Outcome]:
    """Every cell, one after the other: they need the whole machine."""
    for make in brokers:
        broker = make()
        try:
            for fault in faults:
                yield run_cell(broker, fault(), seed, size)
        finally:
            broker.close()
