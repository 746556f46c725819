"""Task messages of a broker that is no store: each becomes a row of the ledger, and is run as any other of its rows."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

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
#: Messages that are adopted in one transaction at most.
TOGETHER = 100
#: Seconds until the ledger is asked once more.
PAUSE = 1.0
#: Seconds after which a running task's message is acknowledged at the latest: RabbitMQ closes a channel that owes one for
#: half an hour.
LONG = 600.0


class _Arrival(NamedTuple):
    """A message that came, and who runs what it becomes."""

    message: Any
    run: Callable[[Any], Any]


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
        self._waiting: deque[_Arrival] = deque()
        self._gathering, self._seen = False, 0
        #: Who waits for the ledger, or to be alone, is asked about when it may be otherwise, and not before.
        self._blocked = False
        #: How many of those that wait are to be asked about one by one.
        self._singly = 0
        self._refused = self._ended = False

    # -- in

    def receive(self, message: Any, run: Callable[[Any], Any]) -> None:
        """Hand the message on as one of the ledger's, once it is; or acknowledge a copy."""
        if not _is_task(message):
            run(message)
        elif self._is_anothers(message):
            self._refuse(message)
        else:
            self._waiting.append(_Arrival(message, run))
            if not (self._gathering or self._blocked):
                self._gathering, self._seen = True, 0
                self._consumer.call_soon(self._gather)

    def _gather(self) -> None:
        """What the broker has sent already is adopted together: its loop reads one message a turn."""
        if self._consumer.hub is None and not self._ended:
            self._read_on()
        elif self._seen < len(self._waiting) < TOGETHER:
            self._seen = len(self._waiting)
            self._consumer.call_soon(self._gather)
            return
        self._gathering = False
        self._take_waiting()

    def _read_on(self) -> None:
        """Celery's plain loop would wait for the next message before it comes back here."""
        with suppress(TimeoutError):
            while len(self._waiting) < TOGETHER:
                self._consumer.connection.drain_events(timeout=0)

    def _take_waiting(self) -> None:
        self._blocked = False
        while self._waiting and not self._ended:
            together = list(islice(self._waiting, 1 if self._singly else TOGETHER))
            if self.qos.alone:
                self._blocked = True  # until that one is over
                return
            try:
                answers = self._adopted([arrival.message for arrival in together])
            except STORE_WIDE as error:
                self._ask_later(error)
                return
            except Exception as error:  # noqa: BLE001  # of one message; the others must not wait for it
                self._find_out(together, error)
                continue
            self._take_off(len(together))
            self._act(list(zip(together, answers, strict=True)))
            if len(together) == 1 and answers[0] is Adoption.ALONE:
                self._blocked = True  # in its turn, and nothing before it
                return

    def _take_off(self, count: int) -> None:
        for _ in range(count):
            self._waiting.popleft()
        self._singly = max(0, self._singly - count)

    def _ask_later(self, error: Exception) -> None:
        logger.warning("no task can be taken from the broker now, trying again in %.0f s: %s", PAUSE, error)
        self._blocked = True
        self._consumer.timer.call_after(PAUSE, self._consumer.call_soon, (self._take_waiting,))

    def _find_out(self, together: list[_Arrival], error: Exception) -> None:
        """None of them was adopted; each by itself, all but those at fault will be."""
        if len(together) > 1:
            self._singly = len(together)
            return
        self._take_off(1)
        self._give_up(together[0].message, error)

    def _adopted(self, messages: list[Any]) -> list[Delivery | Adoption]:
        tasks = [foreign_message(message.delivery_info[QUEUE], message) for message in messages]
        # Nor may those that come with it be run beside one that is to be alone.
        idle = self.isolates or (len(tasks) == 1 and not self.keeper.held)
        answers: list[Delivery | Adoption] = self.store.adopt(
            tasks, owner=self.owner, lease=self.keeper.lease, idle=idle, last_chance=self.last_chance
        )
        return answers

    def _act(self, answered: list[tuple[_Arrival, Delivery | Adoption]]) -> None:
        held = [(arrival, answer) for arrival, answer in answered if isinstance(answer, Delivery)]
        alone = [arrival for arrival, answer in answered if answer is Adoption.ALONE]
        self._waiting.extendleft(reversed(alone))
        self._singly += len(alone)
        for arrival, answer in answered:
            if isinstance(answer, Adoption) and answer is not Adoption.ALONE:
                self._settle_copy(arrival.message, answer)
        self._hand_on(held)

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

    def _hand_on(self, held: list[tuple[_Arrival, Delivery]]) -> None:
        for arrival, delivery in held:
            self._hold(delivery, arrival.message)
        for _, delivery in held:
            delivery.batch = len(self.qos.outstanding)  # they settle together
        failed: Exception | None = None
        for arrival, delivery in held:
            ours = to_message(delivery, self)
            ours.accept = arrival.message.accept
            try:
                arrival.run(ours)
            except Exception as error:  # noqa: BLE001  # raised when the others have been handed on, who are held as well
                failed = failed or error
        if failed is not None:
            self.freed()
            raise failed

    def _hold(self, delivery: Delivery, message: Any) -> None:
        self.qos.hold(delivery)
        known = self.keeper.find(delivery.lease)
        if known is not None:
            known.limited = True  # the broker counts it as this worker's, who would get it again
        self._theirs[delivery.lease] = message
        self._look_later()

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

    def end(self) -> None:
        """Adopt nothing more: Celery looks after what is to be done soon once more when the pool is no longer there.

        What waits is the broker's again with the end of the connection.
        """
        self._ended = True

    def restore(self) -> None:
        """The connection is gone: what has not begun goes back to the ledger, and the broker has the rest again."""
        self._waiting.clear()
        self._gathering = self._blocked = False
        self._singly = 0
        self._theirs.clear()
        self._looks = False  # with the connection go the timers that were set while it was there
        self.qos.restore_unacked_once()


def _is_task(message: Any) -> bool:
    """Whether it is one of Celery's second protocol, from a queue; of the first, and of broadcasts, the ledger knows nothing."""
    headers = message.headers or {}
    named = isinstance(headers.get("id"), str) and isinstance(headers.get("task"), str)
    return named and QUEUE in (message.delivery_info or {})
