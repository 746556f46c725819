"""What RabbitMQ gave up on becomes the ledger's, in any worker that has one."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from typing import Any

import kombu
from celery import bootsteps
from celery.worker.consumer.tasks import Tasks

from celeriac.core.message import Delivery
from celeriac.errors import StoreError
from celeriac.execution.settler import STORE_WIDE
from celeriac.publish.ids import new_id
from celeriac.transport.envelope import foreign_message
from celeriac.transport.rabbitmq.deaths import Death, death_of
from celeriac.transport.rabbitmq.queues import dead_letters

logger = logging.getLogger(__name__)

#: Messages that one worker has in hand, and seconds until the ledger is asked once more.
AT_ONCE, PAUSE = 20, 1.0


class GivenUp(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Consumes the broker's dead letters on the worker's own connection, and begins anew with each new one."""

    requires = (Tasks,)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self._consumer: Any = None
        self._waiting: deque[Any] = deque()

    def include_if(self, consumer: Any) -> bool:
        return bool(consumer.app.declares_queues and consumer.app.ledger_beside)

    def start(self, consumer: Any) -> None:
        self._worker = consumer
        self._waiting = deque()
        channel = consumer.connection.channel()
        channel.basic_qos(0, AT_ONCE, False)
        self._consumer = kombu.Consumer(channel, [dead_letters()], on_message=self._receive)
        self._consumer.consume()

    def stop(self, consumer: Any) -> None:
        given, self._consumer = self._consumer, None
        if given is not None:
            with suppress(*consumer.connection_errors, *consumer.channel_errors, AttributeError):
                given.cancel()

    def _receive(self, message: Any) -> None:
        self._waiting.append(message)
        if len(self._waiting) == 1:
            self._take(self._waiting)

    def _take(self, waiting: deque[Any]) -> None:
        """Keep them one by one. Until it is done with the last, in whatever thread or greenlet, nobody begins another time."""
        while waiting and waiting is self._waiting:  # those of a connection before come again
            message = waiting[0]
            try:
                self._keep(message, death_of(message.headers))
            except STORE_WIDE as error:
                logger.warning("what RabbitMQ gave up on cannot be kept now, trying again in %.0f s: %s", PAUSE, error)
                self._worker.timer.call_after(PAUSE, self._take, (waiting,))
                return
            except StoreError as error:
                # It stays with the broker, and in this worker's hand, so that the others go on.
                logger.error("what RabbitMQ gave up on cannot be kept: %s", error)  # noqa: TRY400  # the text says it all
            else:
                with suppress(*self._worker.connection_errors):
                    message.ack()  # otherwise it comes again, and the ledger has it
            waiting.popleft()

    def _keep(self, message: Any, death: Death) -> None:
        """A dead letter of the ledger's; a task that expired as it was told to is the ledger's to end."""
        store = self._worker.app.store
        message.headers.setdefault("id", message.properties.get("correlation_id") or new_id())
        message.headers.setdefault("task", "unknown")
        [held] = store.adopt(
            [foreign_message(death.queue, message)],
            owner=self._worker.hostname,
            lease=self._worker.app.own_settings.lease_seconds,
        )
        if not isinstance(held, Delivery):
            return  # it is over, or the ledger sees to it
        if death.expired and message.headers.get("expires"):
            store.release([held.lease])
        else:
            store.reject(held.lease, death.reason.replace("_", "-"), "RabbitMQ", death.text)
