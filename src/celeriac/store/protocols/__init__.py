"""What the rooms above ask of a store: one small role a file, named as what implements it, and one conformance suite.

Who needs one role asks for that; ``Store`` is all of them. Times are seconds since the epoch unless a name says *lease clock*.
"""

from __future__ import annotations

from typing import Protocol

from celeriac.store.guest import Guest
from celeriac.store.protocols.chains import Chains
from celeriac.store.protocols.checkpoints import Checkpoints
from celeriac.store.protocols.chords import Chords
from celeriac.store.protocols.circuits import Circuits
from celeriac.store.protocols.clocks import Clocks
from celeriac.store.protocols.deadletters import DeadLetters
from celeriac.store.protocols.failures import Failures
from celeriac.store.protocols.fanout import Fanout
from celeriac.store.protocols.keys import Keys
from celeriac.store.protocols.ledger import Ledger
from celeriac.store.protocols.limits import Limits
from celeriac.store.protocols.news import ANY_NEWS, News, Telling
from celeriac.store.protocols.outbox import Outbox
from celeriac.store.protocols.pauses import Pauses
from celeriac.store.protocols.place import Place
from celeriac.store.protocols.queue import MessageQueue, Publisher, Sending, Within
from celeriac.store.protocols.workflows import Workflows

__all__ = [
    "ANY_NEWS",
    "Chains",
    "Checkpoints",
    "Chords",
    "Circuits",
    "Clocks",
    "DeadLetters",
    "Failures",
    "Fanout",
    "Keys",
    "Ledger",
    "Limits",
    "MessageQueue",
    "News",
    "Outbox",
    "Pauses",
    "Place",
    "Publisher",
    "Sending",
    "Store",
    "Telling",
    "Within",
    "Workflows",
]


class Store(
    MessageQueue,
    Limits,
    Pauses,
    Outbox,
    Fanout,
    Ledger,
    Chords,
    Keys,
    DeadLetters,
    Failures,
    Circuits,
    Workflows,
    Checkpoints,
    Chains,
    Telling,
    Clocks,
    Place,
    Protocol,
):
    """Everything, in one place: broker, ledger, keys and dead letters."""

    def within(self, guest: Guest) -> Within:
        """Publishes on somebody else's connection, in his transaction.

        Raises:
            LeadsElsewhere: it does not lead here.
            TransactionError: it cannot be written on.
        """

    def keeper(self) -> Store:
        """A second store on the same data with connections of its own."""

    def tidy(self) -> bool:
        """Bound what takes room on disk and holds nothing any more; true when something was done.

        A worker calls it every few seconds; where it is of no use it warns of what is in the way.
        """

    def close(self) -> None:
        """Close every connection of this process."""
