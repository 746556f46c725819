"""Messages that nobody can take, one that is very long, and a clock that is wrong."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.injections.base import Fault
from tests.faults.wrapping import CLOCK

if TYPE_CHECKING:
    from tests.faults.cell import Cell

#: Seconds by which the workers' wall clock is wrong, one after the other. It never ends behind where it was: what was to run at a
#: time then would rightly wait for it.
STEPS = (-180.0, 0.0, -600.0, 0.0, 300.0)


class BadMessages(Fault):
    name = "unknown task, undecodable and 10 MB message"
    excuses = False

    def inject(self, cell: Cell, number: int) -> None:
        for kind in ("unknown", "undecodable", "huge"):
            with cell.injecting(kind):
                cell.publish(f"{kind}-{number}")


class ClockStepped(Fault):
    """Back and forth by minutes, in every worker; leases go by another clock."""

    name = "wall clock stepped by minutes"
    excuses = False
    clock_is_right = False

    def prepare(self, cell: Cell) -> None:
        self._step(cell, 0.0)

    def inject(self, cell: Cell, number: int) -> None:
        for step in STEPS if number == cell.fault.rounds(cell.size.rounds) - 1 else STEPS[:-1]:
            with cell.injecting(f"clock {step:+g} s"):
                self._step(cell, step)
            cell.progress(5)

    @staticmethod
    def _step(cell: Cell, seconds: float) -> None:
        path = Path(cell.folder, CLOCK)
        if not path.exists():
            path.write_bytes(struct.pack("d", seconds))
        with path.open("r+b") as file:
            file.write(struct.pack("d", seconds))
