"""A server that goes, and the way to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.brokers.base import CONNECTIONS, SERVER
from tests.faults.injections.base import Fault

if TYPE_CHECKING:
    from tests.faults.cell import Cell

#: Seconds for which answers are swallowed.
SWALLOWED = 1.5


class ServerKilled(Fault):
    """It dies without a word, and is away for longer than a lease."""

    name = "broker: killed, and away for more than a lease"
    need = SERVER
    fewer = 0.4

    def inject(self, cell: Cell, number: int) -> None:
        with cell.injecting(), cell.broker.stopped():
            cell.lasting(1.3 * cell.lease)


class ServerRestarted(Fault):
    name = "broker: restarted"
    need = SERVER

    def inject(self, cell: Cell, number: int) -> None:
        with cell.injecting():
            cell.broker.restart()


class ConnectionsCut(Fault):
    name = "every connection ended by the server"
    need = CONNECTIONS

    def inject(self, cell: Cell, number: int) -> None:
        with cell.injecting():
            cell.place.cut()


class BlackHole(Fault):
    """A worker and the client are cut off without being told; the others are not, and take over."""

    name = "black-holed socket for two leases"
    need = CONNECTIONS
    proxied = True
    fewer = 0.4

    def inject(self, cell: Cell, number: int) -> None:
        assert cell.proxy is not None
        cell.works(cell.workers[0])
        with cell.injecting():
            cell.proxy.swallow()
            cell.lasting(2 * cell.lease)
            cell.proxy.heal()


class AnswersSwallowed(Fault):
    """What is asked arrives and is done, and the answers do not come."""

    name = "answers swallowed on the way"
    need = CONNECTIONS
    proxied = True

    def inject(self, cell: Cell, number: int) -> None:
        assert cell.proxy is not None
        cell.works(cell.workers[0])
        with cell.injecting():
            cell.proxy.swallow_answers()
            cell.lasting(SWALLOWED)
            cell.proxy.heal()
