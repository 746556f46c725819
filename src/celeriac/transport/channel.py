"""One kombu channel for every message queue of celeriac's own."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from amqp.protocol import queue_declare_ok_t
from kombu.transport import virtual
from kombu.utils.uuid import uuid

from celeriac.core.message import Delivery
from celeriac.core.routing import Turns
from celeriac.errors import Unroutable
from celeriac.store.protocols import News, Store
from celeriac.transport import envelope
from celeriac.transport.envelope import broadcast_message, pack, to_message, to_task_message
from celeriac.transport.leases import LeaseKeeper
from celeriac.transport.qos import QoS
from celeriac.transport.suspects import MakeWay

logger = logging.getLogger(__name__)


#: Broadcasts that the store hands out at once.
PAGE = 500


class Receiver(NamedTuple):
    """A consumer's callback for one queue."""

    callback: Callable[[Any], Any]
    no_ack: bool


class Channel(virtual.Channel):  # type: ignore[misc]  # kombu's class is untyped at runtime
    """Publishes into, and delivers from, the connection's store."""

    QoS = QoS
    Message = envelope.Message
    supports_fanout = True
    body_encoding = None

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        self.store: Store = connection.store
        self.keeper: LeaseKeeper = connection.keeper
        self._receivers: dict[str, Receiver] = {}
        self._listening: dict[str, str] = {}
        self._heard = 0
        self._looked = -1
        self._buffer: deque[Delivery] = deque()
        self._way = MakeWay()
        #: The consumed queues that are not fanout.
        self._queues: list[str] = []
        #: Where one of them declares its place among the others.
        self._turns: Turns | None = None
        super().__init__(connection, **kwargs)

    # -- out

    def basic_publish(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> Any:
        """As kombu's, which drops what no queue gets.

        Raises:
            Unroutable: the message is a task's.
        """
        headers = message.get("headers") or {}
        task = headers.get("task")
        if task and headers.get("id") and exchange and not self._leads_somewhere(exchange, routing_key):
            raise Unroutable(task, exchange, routing_key)
        return super().basic_publish(message, exchange, routing_key, **kwargs)

    def _leads_somewhere(self, exchange: str, routing_key: str) -> bool:
        return self.typeof(exchange).type == "fanout" or bool(self._lookup(exchange, routing_key))

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        self.connection.send(self.store, [to_task_message(queue, message)])

    def _put_fanout(self, exchange: str, message: dict[str, Any], routing_key: str, **kwargs: Any) -> None:
        packed = pack(message["headers"], message["properties"], message["content-type"], message["content-encoding"])
        self.store.broadcast(exchange, routing_key or "", packed, message["body"])

    def _next_delivery_tag(self) -> str:
        return ""  # a delivery's lease is its tag

    # -- declarations

    def queue_declare(self, queue: str | None = None, passive: bool = False, **kwargs: Any) -> Any:
        name = queue or f"amq.gen-{uuid()}"
        return queue_declare_ok_t(name, self._size(name), 0)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        if self.typeof(exchange).type == "fanout":
            self._listen(exchange, queue)
            return
        known = (routing_key or "", pattern or "", queue)
        if known not in self.store.bindings(exchange):
            self.store.bind(exchange, *known)

    def _listen(self, exchange: str, queue: str) -> None:
        if not self._listening:
            self._heard = self.store.last_broadcast()
        self._listening[queue] = exchange
        self._sort_queues()

    def _sort_queues(self) -> None:
        self._queues = [queue for queue in self._active_queues if queue not in self._listening]
        shares = self.connection.shares if self.connection is not None else {}  # consumers are cancelled after it, too
        self._turns = Turns(self._queues, shares) if any(queue in shares for queue in self._queues) else None

    def get_table(self, exchange: str) -> Any:
        """Bindings of every process; patterns as kombu's exchanges read them."""
        types = self.typeof(exchange)
        return [types.prepare_bind(queue, exchange, key, {}) for key, _, queue in self.store.bindings(exchange)]

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any) -> None:
        if if_empty and self._size(queue):
            return
        # kombu deletes a queue by its bindings; one without has messages too.
        self._delete(queue)
        self.state.queue_bindings_delete(queue)

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        self._listening.pop(queue, None)
        self.store.unbind(queue)
        self.store.purge(queue)

    def _size(self, queue: str) -> int:
        return self.store.size(queue)

    def _purge(self, queue: str) -> int:
        return self.store.purge(queue)

    # -- in

    def basic_consume(self, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **kwargs: Any) -> None:
        self._tag_to_queue[consumer_tag] = queue
        self._active_queues.append(queue)
        self._consumers.add(consumer_tag)
        self._receivers[queue] = Receiver(callback, no_ack)
        self._sort_queues()
        self.connection.freed()

    def basic_cancel(self, consumer_tag: str) -> None:
        queue = self._tag_to_queue.get(consumer_tag)
        super().basic_cancel(consumer_tag)
        self._receivers.pop(queue, None)
        self._sort_queues()

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> envelope.Message | None:
        claimed = self.store.claim([queue], 1, owner=self.connection.owner, lease=self.keeper.lease)
        if not claimed:
            return None
        self._take(claimed[0], no_ack=no_ack)
        return to_message(claimed[0], self)

    def _get(self, queue: str, timeout: float | None = None) -> Any:  # pragma: no cover - kombu's abstract method
        raise NotImplementedError("basic_get and poll read the store themselves")

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False) -> None:
        self.qos.prefetch_count = prefetch_count
        self.connection.freed()

    def poll(self, budget: Callable[[], bool]) -> int:
        """Deliver what is there while ``budget()`` allows; returns how many messages."""
        delivered = self._deliver_broadcasts()
        if self.connection.ending():
            return delivered
        if not self._buffer:
            self._claim()
        while self._buffer and budget():
            self._deliver_one(self._buffer.popleft())
            delivered += 1
        return delivered

    @property
    def buffered(self) -> bool:
        """Whether claimed messages wait to be delivered here."""
        return bool(self._buffer)

    @property
    def wants_more(self) -> bool:
        """Whether this channel would claim a message that came now."""
        if not self._queues or not self.qos.room():
            return False
        return self._turns is None or not self._turns.capped or self._turns.may_claim(self._held())

    def _claim(self) -> None:
        room = self.qos.room() if self._queues else 0
        if not room:
            return
        if not self._idle and self._making_way():
            return
        if self._turns is None:
            # Each queue is first in turn, so none starves another.
            self._queues.append(self._queues.pop(0))
            claimed: Sequence[Delivery] = self._claim_from(self._queues, room)
        else:
            claimed = self._turns.claim(room, self._held() if self._turns.capped else {}, self._claim_from)
        if not claimed:
            self.qos.prefetch.rest()

    @property
    def _idle(self) -> bool:
        """Whether what may take its process down would take nothing else down with it."""
        return self.connection.isolates or not self.keeper.held

    def _claim_from(self, queues: Sequence[str], most: int) -> list[Delivery]:
        """Claim at most so many, the first queue's first, to be delivered from here."""
        connection = self.connection
        claimed = self.store.claim(
            queues,
            most,
            owner=connection.owner,
            lease=self.keeper.lease,
            idle=self._idle,
            last_chance=connection.last_chance,
        )
        for delivery in claimed:
            receiver = self._receivers.get(delivery.queue)
            self._take(delivery, no_ack=receiver is not None and receiver.no_ack)
        self._buffer.extend(claimed)
        return claimed

    def _held(self) -> Counter[str]:
        """How many messages of each queue are with this consumer."""
        return Counter(delivery.queue for delivery in self.qos.outstanding.values())

    def _making_way(self) -> bool:
        """Whether nothing more is begun for now, so that a suspect may have its last chance alone."""
        return self._way.holds_back(lambda: self.store.last_chances(self._queues, self.connection.last_chance))

    def _take(self, delivery: Delivery, *, no_ack: bool) -> None:
        if no_ack:
            self.store.ack([delivery.lease])
        else:
            self.qos.hold(delivery)

    def _deliver_one(self, delivery: Delivery) -> None:
        receiver = self._receivers.get(delivery.queue)
        if receiver is None:  # cancelled since it was claimed
            self.qos.reject(delivery.lease, requeue=True)
            return
        try:
            message = to_message(delivery, self)
        except Exception as error:
            logger.exception("message %d in queue %s cannot be read", delivery.lease.message_id, delivery.queue)
            self.bury(delivery.lease, "undecodable", error)
            return
        receiver.callback(message)

    def _deliver_broadcasts(self) -> int:
        if not self._listening:
            return 0
        mark = self.store.mark(News.BROADCASTS)
        if mark == self._looked:
            return 0
        heard = self.store.listen(sorted(set(self._listening.values())), self._heard)
        # A full page may not be all there is.
        self._looked = -1 if len(heard) >= PAGE else mark
        delivered = 0
        for item in heard:
            self._heard = item.id
            for queue, exchange in list(self._listening.items()):
                receiver = self._receivers.get(queue)
                if exchange == item.exchange and receiver is not None:
                    receiver.callback(broadcast_message(item, self))
                    delivered += 1
        return delivered

    def bury(self, tag: Any, reason: str, error: Exception) -> None:
        """Turn a delivered message into a dead letter."""
        if self.qos.forget(tag) is None:
            return
        held = self.keeper.drop(tag)
        if held is not None:
            self.store.reject(held.lease, reason, type(error).__name__, str(error))
        self.connection.freed()

    # -- end

    def close(self) -> None:
        if not self.closed:
            while self._buffer:
                delivery = self._buffer.popleft()
                self.qos.forget(delivery.lease)
                self.keeper.drop(delivery.lease)
                self.store.release([delivery.lease])
        super().close()
