"""Task messages of a broker that is no store: each becomes a row of the ledger, and is run as any other of its rows."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from celery.worker import state

from celeriac.core.message import LEDGER_HEADER, Adoption, Delivery, Lease
from celeriac.errors import ForeignLedger
from celeriac.execution.settler import STORE_WIDE
from celeriac.settings import copies_come_for
from celeriac.transport.consumer import QUEUE
from celeriac.transport.envelope import foreign_message, to_message
from celeriac.transport.qos import QoS

logger = logging.getLogger(__name__)

#: What sysexits.h calls a program that was configured wrongly.
EX_CONFIG = 78
#: Seconds until the ledger is asked once more.
PAUSE = 1.0
#: Seconds after which a running task's message is acknowledged at the latest: RabbitMQ closes a channel that owes one for
#: half an hour.
LONG = 600.0


class Adopter:
    """Stands between the broker's channel and Celery's consumer, and is the channel of what it hands on.

    The broker's own message is acknowledged when the task is over, though the ledger has had it from the start: so
    the broker gives this worker no more than it asked for. A task that runs long has its message acknowledged while it
    runs. What the broker delivers again is found in the ledger.
    """

    #: kombu asks a message's channel.
    no_ack_consumers = None
    #: `QoS` asks its channel's connection; this is both.
    adaptive = False

    def __init__(self, consumer: Any, *, isolates: bool) -> None:
        app = consumer.app
        self._consumer = consumer
        self.store, self.keeper, self.connection = app.store, app.keeper, self
        self.owner = consumer.hostname
        self.last_chance = max(1, app.own_settings.max_crashes - 1)
        self.isolates = isolates
        self.qos = QoS(self)
        self._theirs: dict[Lease, Any] = {}
        self._long = min(LONG, copies_come_for(app.conf) / 4)
        self._looks = False
        #: What came and cannot be adopted yet; not ours, and after a lost connection the broker's again.
        self._waiting: deque[tuple[Any, Callable[[Any], Any]]] = deque()
        self._refused = False

    # -- in

    def receive(self, message: Any, run: Callable[[Any], Any]) -> None:
        """Hand the message on as one of the ledger's, once it is; or acknowledge a copy."""
        if not _is_task(message):
            run(message)
        elif self._is_anothers(message):
            self._refuse(message)
        else:
            self._waiting.append((message, run))
            if len(self._waiting) == 1:
                self._take_waiting()

    def _take_waiting(self) -> None:
        while self._waiting:
            message, run = self._waiting[0]
            try:
                answer = self._adopted(message)
            except Exception as error:  # noqa: BLE001  # of this message alone; the others must not wait for it
                self._waiting.popleft()
                self._give_up(message, error)
                continue
            if answer is None or answer is Adoption.ALONE:
                return  # in its turn, and nothing before it
            self._waiting.popleft()
            if isinstance(answer, Delivery):
                self._hand_on(answer, message, run)
            else:
                self._settle_copy(message, answer)

    def _adopted(self, message: Any) -> Delivery | Adoption | None:
        """None where the ledger does not answer now; it is asked again."""
        task = foreign_message(message.delivery_info[QUEUE], message)
        idle = self.isolates or not self.keeper.held
        try:
            answers: list[Delivery | Adoption] = self.store.adopt(
                [task], owner=self.owner, lease=self.keeper.lease, idle=idle, last_chance=self.last_chance
            )
        except STORE_WIDE as error:
            logger.warning("no task can be taken from the broker now, trying again in %.0f s: %s", PAUSE, error)
            self._consumer.timer.call_after(PAUSE, self._consumer.call_soon, (self._take_waiting,))
            return None
        return answers[0]

    def _give_up(self, message: Any, error: Exception) -> None:
        """Nothing can be kept of it here. RabbitMQ has a place for such messages, where it was told of one."""
        headers = message.headers
        logger.error(
            "task %s[%s] cannot be kept, and was rejected: %r, headers %r, properties %r",
            headers["task"],
            headers["id"],
            error,
            headers,
            message.properties,
        )
        with suppress(*self._consumer.connection_errors):
            message.reject()

    def _hand_on(self, delivery: Delivery, message: Any, run: Callable[[Any], Any]) -> None:
        delivery.batch = len(self.qos.outstanding) + 1  # they settle together
        self.qos.hold(delivery)
        held = self.keeper.find(delivery.lease)
        if held is not None:
            held.limited = True  # the broker counts it as this worker's, who would get it again
        self._theirs[delivery.lease] = message
        self._look_later()
        ours = to_message(delivery, self)
        ours.accept = message.accept
        run(ours)

    def _settle_copy(self, message: Any, answer: Adoption) -> None:
        logger.debug("task %s came once more: %s", message.headers.get("id"), answer.value)
        if answer is Adoption.DELAYED:
            self.store.rouse()  # the relay may have to wake earlier than it meant to
        self._acknowledge(message)

    # -- somebody else's

    def _is_anothers(self, message: Any) -> bool:
        mark = message.headers.get(LEDGER_HEADER)
        return bool(mark) and mark[0] != self.store.uuid

    def _refuse(self, message: Any) -> None:
        """Neither run nor lost: the broker has it again, and this worker ends before it gets it once more."""
        message.requeue()
        if self._refused:
            return
        self._refused = True
        theirs, location = (*message.headers[LEDGER_HEADER], "?")[:2]
        error = ForeignLedger(
            str(message.headers["task"]),
            str(message.headers["id"]),
            f"{location} ({theirs})",
            f"{self.store.location} ({self.store.uuid})",
        )
        logger.critical("%s", error)
        with suppress(*self._consumer.connection_errors):
            self._consumer.task_consumer.cancel()
        state.should_stop = EX_CONFIG

    # -- as a message's channel

    def basic_ack(self, tag: Lease, multiple: bool = False) -> None:
        """The task is over, or its run is somebody else's: the broker may give this worker another."""
        self.qos.ack(tag)
        self._let_go(tag)

    def basic_reject(self, tag: Lease, requeue: bool = False) -> None:
        """What becomes of it is the ledger's to say; the broker's copy has served."""
        self.qos.reject(tag, requeue=requeue)
        self._let_go(tag)

    def _let_go(self, tag: Lease) -> None:
        message = self._theirs.pop(tag, None)
        if message is not None:
            self._acknowledge(message)

    def _look_later(self) -> None:
        if not self._looks:
            self._looks = True
            self._consumer.timer.call_after(self._long / 2, self._consumer.call_soon, (self._let_go_of_long,))

    def _let_go_of_long(self) -> None:
        """What runs is leased from the ledger. Another message may come for it, as one may for each of the pool's slots."""
        self._looks = False
        before = self.store.lease_now() - self._long
        for lease in list(self._theirs):
            held = self.keeper.find(lease)
            if held is not None and held.started and held.claimed_at < before:
                self._let_go(lease)
        if self._theirs:
            self._look_later()

    def _acknowledge(self, message: Any) -> None:
        try:
            message.ack()
        except Exception as error:  # noqa: BLE001  # whatever the client raises: it comes again, and is found
            logger.debug("the broker was not told of %s: %r", message.headers.get("id"), error)

    def freed(self) -> None:
        """Something is over: what waited to be alone may be."""
        if self._waiting:
            self._consumer.call_soon(self._take_waiting)

    # -- end

    def restore(self) -> None:
        """The connection is gone: what has not begun goes back to the ledger, and the broker has the rest again."""
        self._waiting.clear()
        self._theirs.clear()
        self._looks = False  # with the connection go the timers that were set while it was there
        self.qos.restore_unacked_once()


def _is_task(message: Any) -> bool:
    """Whether it is one of Celery's second protocol, from a queue; of the first, and of broadcasts, the ledger knows nothing."""
    headers = message.headers or {}
    named = isinstance(headers.get("id"), str) and isinstance(headers.get("task"), str)
    return named and QUEUE in (message.delivery_info or {})
