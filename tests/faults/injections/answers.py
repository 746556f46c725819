"""A write that succeeds while its caller sees a time-out; and a store that cannot be written for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tests.faults.brokers.base import DISK, LOCK, READ_ONLY
from tests.faults.injections.base import Fault
from tests.faults.plan import Wrap

if TYPE_CHECKING:
    from tests.faults.cell import Cell

#: How many answers are lost in a round.
A_ROUND = 4
#: Seconds for which the store cannot be written, as parts of a lease.
SHORT, LONG = 0.5, 1.5


class AnswerLost(Fault):
    """The store did it, and says nothing."""

    call: ClassVar[str]
    one_in: ClassVar[int] = 6
    where: ClassVar[str] = "worker"

    def wraps(self, rounds: int) -> list[Wrap]:
        return [Wrap(self.call, "answer-lost", self.one_in, A_ROUND * rounds, self.where)]

    def inject(self, cell: Cell, number: int) -> None:
        cell.injected(A_ROUND * (number + 1))


class ClaimLost(AnswerLost):
    """What was claimed, nobody knows of until the lease is over."""

    name = "claim: done, its answer lost"
    call = "claim"


class RenewalLost(AnswerLost):
    name = "renewal of leases: done, its answer lost"
    call, one_in = "extend", 2


class SettleLost(AnswerLost):
    name = "settle: done, its answer lost"
    call = "settle"


class PublishLost(AnswerLost):
    """The client's; what a body publishes is repeated under its key."""

    name = "publish: done, its answer lost"
    call, where = "publish", "client"
    excuses = False


class PublishInBodyLost(AnswerLost):
    name = "publish in a body: done, its answer lost"
    call, one_in = "publish", 3
    excuses = False


class Locked(Fault):
    """Another process's transaction holds up every write, also for longer than a lease."""

    name = "store locked by another process"
    need = LOCK
    fewer = 0.6

    def inject(self, cell: Cell, number: int) -> None:
        with cell.injecting(), cell.place.locked():
            cell.lasting(cell.lease * (LONG if number % 2 else SHORT))


class ReadOnly(Fault):
    name = "store read-only"
    need = READ_ONLY
    fewer = 0.6

    def inject(self, cell: Cell, number: int) -> None:
        with cell.injecting(), cell.place.read_only():
            cell.lasting(cell.lease * (LONG if number % 2 else SHORT))


class DiskFull(Fault):
    name = "disk full"
    need = DISK
    fewer = 0.6

    def inject(self, cell: Cell, number: int) -> None:
        with cell.injecting(), cell.place.full():
            cell.lasting(cell.lease * (LONG if number % 2 else SHORT))
