"""The ledger beside another broker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from celeriac.core.message import LAST_CHANCE, Adoption, Delivery, Lease, TaskMessage


class Outbox(Protocol):
    """The ledger beside a broker that is no store: what comes from there, and what goes there."""

    def adopt(
        self,
        messages: Sequence[TaskMessage],
        *,
        owner: str,
        lease: float,
        idle: bool = True,
        last_chance: int = LAST_CHANCE,
    ) -> list[Delivery | Adoption]:
        """Hold tasks that the broker delivered, for ``lease`` seconds, as if they had been claimed; all or none.

        A task that the ledger has to send, or has sent, is taken over as the ledger knows it. One with ``last_chance``
        crashes or more is only where ``idle`` says that the caller holds nothing.
        """

    def take_for_relay(self, limit: int, lease: float) -> list[Delivery]:
        """Up to ``limit`` messages that the broker is to be given now, of any queue, and nobody else for ``lease`` seconds.

        They can be adopted from now on. Their leases are only good for ``relayed``.
        """

    def relayed(self, leases: Sequence[Lease], again: float) -> None:
        """The broker has them; what nobody has adopted by then is to be given to it again after ``again`` seconds."""

    def relay_again(self, queue: str, missing: float, again: float) -> int:
        """Have what the broker was given ``missing`` seconds ago or longer given to it now: it has lost ``queue``.

        ``again`` is what ``relayed`` was told. What is not as long with the broker as it took to give it there waits on:
        each time takes twice as long, in case others read the queue. Returns how many.
        """
