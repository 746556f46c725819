"""What a channel has delivered and not seen acknowledged."""

from __future__ import annotations

from typing import Any

from celeriac.core.message import Delivery, Lease
from celeriac.transport.prefetch import MOST, Prefetch


class QoS:
    """kombu's quality-of-service interface over leases.

    Acknowledging a managed message only frees its slot: its row leaves the
    queue with the settlement, in whichever process that happens.
    """

    restore_at_shutdown = True

    def __init__(self, channel: Any, prefetch_count: int = 0) -> None:
        self.channel = channel
        self.keeper = channel.keeper
        self.outstanding: dict[Lease, Delivery] = {}
        #: Suspects on their last chance, which run beside nothing else.
        self._alone: set[Lease] = set()
        self.prefetch = Prefetch(prefetch_count, adaptive=channel.connection.adaptive)

    @property
    def prefetch_count(self) -> int:
        return self.prefetch.least

    @prefetch_count.setter
    def prefetch_count(self, count: int) -> None:
        self.prefetch.least = count or MOST

    @property
    def alone(self) -> bool:
        """Whether one is held beside which nothing else may run."""
        return bool(self._alone)

    def room(self) -> int:
        """How many more messages to claim now.

        A free slot of the pool is filled at once; what is held beyond the pool
        is refilled by halves, so that claims come in batches.
        """
        if self._alone:
            return 0
        held = len(self.outstanding)
        target = self.prefetch.target()
        free = target - held
        return free if held < self.prefetch.least or free * 2 >= target else 0

    def can_consume(self) -> bool:
        return self.room() > 0

    def hold(self, delivery: Delivery) -> None:
        """Count a claimed message and keep its lease."""
        self.outstanding[delivery.lease] = delivery
        connection = self.channel.connection
        if delivery.suspect and delivery.crashes >= connection.last_chance and not connection.isolates:
            self._alone.add(delivery.lease)
        self.keeper.hold(delivery)

    def forget(self, tag: Any) -> Delivery | None:
        """Count it no longer; its lease is the caller's business."""
        self._alone.discard(tag)
        return self.outstanding.pop(tag, None)

    def ack(self, tag: Any) -> None:
        delivery = self.forget(tag)
        if delivery is None:
            return  # a broadcast, or handed back already
        self.prefetch.finished()
        held = self.keeper.find(delivery.lease)
        if held is not None and held.managed:
            self.keeper.drop(delivery.lease)
        else:
            self.keeper.drop(delivery.lease)
            self.channel.store.ack([delivery.lease])
        self._freed()

    def reject(self, tag: Any, requeue: bool = False) -> None:
        delivery = self.forget(tag)
        if delivery is None:
            return
        self.prefetch.finished()
        held = self.keeper.drop(delivery.lease)
        if held is None or not held.managed:
            self._reject_unmanaged(delivery, requeue)
        self._freed()

    def _freed(self) -> None:
        connection = self.channel.connection
        if connection is not None:  # what outlasted its connection ends on the closed one
            connection.freed()

    def _reject_unmanaged(self, delivery: Delivery, requeue: bool) -> None:
        if requeue:
            self.channel.store.release([delivery.lease])
        elif delivery.task_id is None:
            self.channel.store.ack([delivery.lease])
        else:
            # What a worker cannot take is kept for people to look at.
            self.channel.store.reject(delivery.lease, "rejected", "Reject", "a worker refused the message")

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Hand back what was delivered and has not begun."""
        waiting = []
        for tag, delivery in list(self.outstanding.items()):
            held = self.keeper.find(delivery.lease)
            if held is None or (held.managed and held.started):
                continue  # its run goes on, and settles by itself
            self.forget(tag)
            waiting.append(delivery.lease)
        if waiting:
            self.keeper.give_up(waiting)

    def restore_unacked(self) -> None:
        self.restore_unacked_once()

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Leases are reclaimed by the keeper."""
