"""Processes that die, stand still, leave and are replaced."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any, ClassVar

from tests.faults.injections.base import Fault, Post
from tests.faults.plan import Wrap
from tests.faults.wrapping import BEFORE_BODY, IN_BODY

if TYPE_CHECKING:
    from tests.faults.cell import Cell

#: Who comes after whom in deploys: with two posts and four rounds, or three and five, each pool is ended at least once.
SUCCESSORS = (Post("gevent", 2), Post("solo"), Post("prefork", 2), Post("threads", 2))
#: Two of them have processes to lose.
WITH_CHILDREN = (Post("prefork", 3), Post("threads", 2), Post("prefork", 2))


class Nothing(Fault):
    """No fault at all: what the machine itself does."""

    name = "none"
    excuses = False


class ClientKilled(Fault):
    name = "client: SIGKILL"
    excuses = False

    def inject(self, cell: Cell, number: int) -> None:
        with cell.injecting():
            cell.client.kill()
        cell.client = cell.start_client()


class WorkerKilled(Fault):
    """Its whole group, as when a machine dies; and in turn the parent alone, which leaves its processes orphaned."""

    name = "worker: SIGKILL"

    def inject(self, cell: Cell, number: int) -> None:
        place = number % len(cell.workers)
        cell.works(cell.workers[place])
        with cell.injecting():
            if number % 4 < 3:
                cell.workers[place].kill()
            else:
                cell.workers[place].kill_parent()
        cell.replace(place)


class WorkerKilledClaiming(Fault):
    """What it had claimed, no part of it had begun."""

    name = "worker: SIGKILL, having claimed"

    def wraps(self, rounds: int) -> list[Wrap]:
        return [Wrap("claim", "die-after", 3, rounds)]

    def inject(self, cell: Cell, number: int) -> None:
        cell.injected(number + 1)


class ChildKilled(Fault):
    name = "pool process: SIGKILL, at any time"
    posts: ClassVar[tuple[Post, ...]] = WITH_CHILDREN

    def inject(self, cell: Cell, number: int) -> None:
        for _ in range(2):
            worker = cell.workers[0]
            cell.until(worker.children, 60, "no pool processes")
            with cell.injecting(), contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(cell.random.choice(worker.children()), signal.SIGKILL)
            cell.progress(5)


class ChildDies(Fault):
    """In the worker's own words: between which calls."""

    posts: ClassVar[tuple[Post, ...]] = WITH_CHILDREN
    point: ClassVar[tuple[str, str, int]]

    def wraps(self, rounds: int) -> list[Wrap]:
        method, how, one_in = self.point
        return [Wrap(method, how, one_in, rounds * 2, "child")]

    def inject(self, cell: Cell, number: int) -> None:
        cell.injected(2 * number + 2)


class ChildDiesBefore(ChildDies):
    name = "pool process: SIGKILL, claimed and not begun"
    point = (BEFORE_BODY, "die-before", 8)


class ChildDiesInBody(ChildDies):
    name = "pool process: SIGKILL, in the body"
    point = (IN_BODY, "die-before", 8)


class ChildDiesAfterBody(ChildDies):
    name = "pool process: SIGKILL, between body and settle"
    point = ("settle", "die-before", 4)


class ChildDiesSettling(ChildDies):
    name = "pool process: SIGKILL, during the settle"
    point = ("settle", "die-during", 4)


class ChildDiesSettled(ChildDies):
    name = "pool process: SIGKILL, after the settle"
    point = ("settle", "die-after", 4)


class WorkerStopped(Fault):
    """A zombie: it stands still for two leases, and goes on with what is another's by then."""

    name = "worker: SIGSTOP for two leases"
    fewer = 0.4

    def inject(self, cell: Cell, number: int) -> None:
        worker = cell.workers[number % len(cell.workers)]
        cell.works(worker)
        with cell.injecting():
            worker.stop()
            cell.lasting(2 * cell.lease)
            worker.cont()


class Deploys(Fault):
    """One worker after the other is told to end, while its successor is started: until one in each of the pools was."""

    name = "deploys: SIGTERM"
    excuses = False

    def inject(self, cell: Cell, number: int) -> None:
        place = number % len(cell.workers)
        old = cell.workers[place]
        cell.works(old)
        with cell.injecting():
            os.kill(old.pid, signal.SIGTERM)
            cell.replace(place, SUCCESSORS[number % len(SUCCESSORS)])
            cell.until(lambda: not old.running, 60, f"{old.name} does not end")

    def rounds(self, most: int) -> int:
        return max(most, len(SUCCESSORS))


class DeploysAtOnce(Deploys):
    """What they are at is handed back; every body takes long enough to be met."""

    name = "deploys: SIGTERM, without a grace"
    excuses = True
    settings: ClassVar[dict[str, Any]] = {"celeriac_shutdown_grace_seconds": 0.0}
    long_one_in = 1


class ChildrenReplaced(Fault):
    """Every pool process ends after a few tasks, and another is forked."""

    name = "pool processes respawned under load"
    excuses = False
    posts = (Post("prefork", 3, ("--max-tasks-per-child=10",)), Post("prefork", 2, ("--max-tasks-per-child=4",)))

    def inject(self, cell: Cell, number: int) -> None:
        before = set(cell.workers[0].children())
        with cell.injecting():
            cell.until(lambda: not before & set(cell.workers[0].children()), 60, "no process is replaced")


class Poison(Fault):
    """Tasks under which a process dies whenever they run, as of hunger for memory; all others are innocent."""

    name = "poison beside innocents"
    fewer = 0.4
    restarts = 200

    def inject(self, cell: Cell, number: int) -> None:
        cell.publish(f"poison-{number}")
