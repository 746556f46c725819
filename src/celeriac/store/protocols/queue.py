"""The queue: messages go in, are claimed under leases, and leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from celeriac.core.message import LAST_CHANCE, Delivery, Join, Lease, Published, QueueSize, Reclaimed, TaskMessage


class Publisher(Protocol):
    """Where messages go."""

    def publish(self, messages: Sequence[TaskMessage]) -> list[Published]:
        """Accept the messages, all or none."""


class Within(Publisher, Protocol):
    """Where messages go that somebody else's transaction sends."""

    #: They are in the store itself with his commit, and not in an outbox on the way there.
    in_store: bool

    def join(self, join: Join) -> None:
        """Keep what a chord is joined by, of which members follow: for what was kept alone nobody may come."""


class Sending(Protocol):
    """Messages under way: sent, and the store's answer still to be read. For one thread."""

    def published(self) -> list[Published]:
        """Wait for the answer, which says what ``publish`` does, and raises it; those of before are read before."""

    def abandon(self) -> None:
        """Nobody will ask: what became of them stays unknown."""


class MessageQueue(Publisher, Protocol):
    """Messages that wait, and leases on those being worked on."""

    def publish(self, messages: Sequence[TaskMessage]) -> list[Published]:
        """Accept the messages, all or none.

        A task that waits or runs is not sent again. A key that is held sends
        nothing and names its holder, which may be the task itself when it has
        succeeded; an ``awaited`` message waits for the holder instead.

        Raises:
            IdempotencyConflict: a key is held with other arguments.
            StoreUnavailable: the store could not be written; nothing was sent.
        """

    def publish_ahead(self, messages: Sequence[TaskMessage], behind: Sending | None) -> Sending | None:
        """``publish`` without waiting, behind one whose answer may still be to come; None where nothing would be won.

        Raises:
            StoreUnavailable: the store is away; what became of these, and of those before, is unknown.
        """

    def claim(
        self,
        queues: Sequence[str],
        limit: int,
        *,
        owner: str,
        lease: float,
        idle: bool = True,
        last_chance: int = LAST_CHANCE,
    ) -> list[Delivery]:
        """Take up to ``limit`` messages for ``lease`` seconds, highest priority first, queues in the order given.

        No other message is claimed with a suspect. One with ``last_chance`` crashes or more is passed over unless
        ``idle`` says that the caller holds nothing.
        """

    def last_chances(self, queues: Sequence[str], last_chance: int = LAST_CHANCE) -> bool:
        """Whether a suspect waits in these queues that only an idle worker may claim."""

    def extend(self, leases: Sequence[Lease], lease: float) -> list[Lease]:
        """Renew for ``lease`` seconds; returns the ones that are lost."""

    def reject(self, lease: Lease, reason: str, error_type: str, error: str) -> None:
        """Turn a message that no worker can take into a dead letter."""

    def start(self, lease: Lease) -> bool:
        """Mark the delivery as started, durably; false when the lease is lost."""

    def release(self, leases: Sequence[Lease], *, crashed: bool = False, error: str = "") -> list[Lease]:
        """Hand back unfinished messages, and return them; with ``crashed`` the run is counted against them."""

    def hand_back(self, leases: Sequence[Lease]) -> list[Lease]:
        """Hand back what has not been marked as started; returns the others that are still held."""

    def park(self, lease: Lease) -> bool:
        """Put the message aside until its idempotency key is free; false when it already is."""

    def ack(self, leases: Sequence[Lease]) -> None:
        """Delete messages that no settlement accounts for (replies, unmanaged tasks)."""

    def reclaim(self) -> list[Reclaimed]:
        """Make the messages of vanished holders ready again, and return them; a run that had begun is counted against them."""

    def next_due(self) -> float | None:
        """When the next delayed message is due."""

    def size(self, queue: str) -> int:
        """Messages waiting in ``queue``, delayed ones included; not those that another broker was given."""

    def sizes(self) -> list[QueueSize]:
        """All queues that hold anything; ``extra["relayed"]`` counts what another broker was given and nobody adopted.

        ``extra["limited"]`` counts what waits in lanes, ``extra["paused"]`` what is set aside of paused tasks.
        """

    def purge(self, queue: str) -> int:
        """Drop what waits in ``queue``; keys are freed; returns how many."""
