"""The matrix can turn red: builds with one guard removed, and the column in which it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from celeriac.core.attempt import DeadLetterFilter
from tests.faults.brokers import Broker
from tests.faults.builds import BUILDS
from tests.faults.cell import Cell, Size
from tests.faults.injections import Fault, answers, processes
from tests.faults.injections.base import Post
from tests.faults.journal import MEANWHILE, Counted


class Stopped(processes.WorkerStopped):
    """With all hands full of what has consequences; another does it meanwhile."""

    kinds: ClassVar[dict[str, int]] = {"linked": 1}
    posts = (Post("threads", 10),)
    long_one_in = 1

    def inject(self, cell: Cell, number: int) -> None:
        (zombie,) = cell.workers
        with cell.injecting():
            zombie.stop()
            heir = cell.hire(Post("threads", 10))
            cell.until(heir.ready, 60, "nobody takes over")
            cell.progress()
            cell.lasting(2 * cell.lease)
            zombie.cont()


class Unharmed(processes.Nothing):
    kinds: ClassVar[dict[str, int]] = {"flaky": 1}
    posts = (Post("threads", 2),)
    disturbed = False


class Poisoned(processes.Poison):
    """In a pool that dies with it, so that only the mark tells who did it."""

    kinds: ClassVar[dict[str, int]] = {"plain": 1}
    posts = (Post("solo"),)
    restarts = 3


class Killed(processes.ChildKilled):
    kinds: ClassVar[dict[str, int]] = {"linked": 1, "chain": 1}
    posts = (Post("prefork", 3),)


class Repeated(answers.PublishLost):
    kinds: ClassVar[dict[str, int]] = {"keyed": 1}
    posts = (Post("threads", 2),)


class Limited(Unharmed):
    kinds: ClassVar[dict[str, int]] = {"limited": 3, "plain": 1}
    posts = (Post("threads", 10),)
    long_one_in = 1


class Paused(Unharmed):
    """Each of three tasks is paused while it is published; the first pause may be over before the worker is there."""

    kinds: ClassVar[dict[str, int]] = {"paid": 1, "limited": 1, "snoozed": 1}
    disturbed = True

    def inject(self, cell: Cell, number: int) -> None:
        paused = Counted(cell.folder, MEANWHILE, "paused")
        cell.until(lambda: paused.count() >= 6, 60, "nothing is paused")


class Snoozed(Unharmed):
    kinds: ClassVar[dict[str, int]] = {"snoozed": 1, "plain": 3}


class Calling(Unharmed):
    kinds: ClassVar[dict[str, int]] = {"called": 1, "plain": 15}
    disturbed = True

    def inject(self, cell: Cell, number: int) -> None:
        stood_still = Counted(cell.folder, MEANWHILE, "stood still")
        cell.until(
            lambda: stood_still.count() or list(cell.app.store.dead_letters(DeadLetterFilter())), 60, "it stands"
        )


@dataclass(frozen=True)
class Case:
    """What is done to a build, and the columns of which one at least must not be zero."""

    fault: type[Fault]
    columns: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    units: int = 15


#: Seconds without any movement after which a build is red whatever comes.
STILL = 3.0
#: A second is the shortest lease there is.
_SOON = {"celeriac_lease_seconds": 1.0, "celeriac_renew_seconds": 0.2}
CASES = {
    # Zombies settle too: what follows a task, or a chord's body, is sent twice.
    "no fencing token": Case(Stopped, ("effects > 1", "chord bodies ≠ 1"), _SOON),
    # A retry is taken for a repeat of the run before, and dropped.
    "no generations": Case(Unharmed, ("never ended",)),
    # Nobody knows who killed the worker, so nothing is ever buried.
    "no started mark": Case(Poisoned, ("never ended",), _SOON),
    # A process dies between a task's end and what should follow it.
    "no follow-ups in the settle": Case(Killed, ("lost", "never ended")),
    # A client repeats what it could not know to be accepted.
    "no keys": Case(Repeated, ("effects > 1",)),
    # Ten hands for four slots.
    "no slots": Case(Limited, ("over a limit",), units=40),
    # The third of a key waits for ever.
    "slots never freed": Case(Limited, ("never ended",)),
    # Who resumes does not find what a claim had met while it was paused.
    "pauses that lose": Case(Paused, ("never ended",), units=350),
    # Put off three times, it is buried as if it had killed three processes.
    "snoozes that count": Case(Snoozed, ("innocents buried",)),
    # Tasks burn their retries while nobody answers.
    "no circuit": Case(Calling, ("innocents buried",)),
}


def test_every_build_is_tried() -> None:
    assert set(CASES) == set(BUILDS)


@pytest.mark.parametrize("name", CASES)
def test_a_build_without_a_guard_turns_it_red(
    name: str, started: Callable[[str], Broker], seed: int, tmp_path: Path
) -> None:
    case = CASES[name]
    cell = Cell(
        started("sqlite"),
        case.fault(),
        tmp_path,
        seed,
        Size(case.units, 0.01, 1, still=STILL),
        build=name,
        **case.settings,
    )
    try:
        verdict = cell.run()
    finally:
        cell.close()
    red = {column: entries for column, entries in verdict.zeros.items() if entries}
    assert set(red) & set(case.columns), f"SEED={seed}: {red}"
