"""What was kept for a broker that is no store is given to it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from kombu.exceptions import OperationalError

from celeriac.core.message import Delivery, TaskMessage
from celeriac.transport.envelope import clamp_priority

#: Seconds in which the broker accepts a connection, and in which it answers, or counts as away.
CONNECTING, PATIENCE = 4.0, 10.0


class Forwarder:
    """One connection for publishing, opened when needed; for one thread.

    Args:
        app: the app, for whose broker the messages were kept.
        returned: whether what no queue gets comes back as an error, where the broker can tell.
    """

    def __init__(self, app: Any, *, returned: bool = False) -> None:
        self._app = app
        self._returned = returned
        self._connection: Any = None
        self._producer: Any = None

    def open(self) -> None:
        """Connect, unless it is done.

        Raises:
            kombu.exceptions.OperationalError: the broker does not answer, or lets nobody in: no fault of a message.
        """
        if self._producer is not None:
            return
        # py-amqp's publish is over when the bytes are sent, unless the broker is asked to confirm it.
        connection = self._app.connection_for_write(transport_options={"confirm_publish": True})
        try:
            connection.ensure_connection(max_retries=1, timeout=CONNECTING)
            self._producer = self._app.amqp.Producer(connection, auto_declare=False)
        except OperationalError:
            raise
        except Exception as error:
            raise OperationalError(str(error)) from error
        self._connection = connection

    def publish(self, kept: TaskMessage | Delivery) -> None:
        """Returns when the broker has the message, where it can say so.

        Raises:
            kombu.exceptions.OperationalError: the broker does not answer.
            celeriac.transport.rabbitmq.client.Returned: no queue gets the message.
        """
        headers, properties, content_type, encoding = json.loads(kept.envelope)
        target = properties.pop("delivery_info", {})
        exchange, key = target.get("exchange") or "", target.get("routing_key") or kept.queue
        self.open()
        with self._connection._reraise_as_library_errors():  # noqa: SLF001  # as Celery does
            self._producer.publish(
                kept.body,
                exchange=exchange,
                routing_key=key,
                declare=declared(self._app.amqp.queues, kept.queue, exchange, key),
                priority=clamp_priority(properties.pop("priority", None)),
                content_type=content_type,
                content_encoding=encoding,
                headers=headers,
                mandatory=self._returned,
                timeout=PATIENCE,
                confirm_timeout=PATIENCE,
                **{"delivery_mode": 2, **properties},
            )

    def is_empty(self, queue: str) -> bool:
        """Whether nothing waits in the broker's queue.

        Raises:
            kombu.exceptions.OperationalError: the broker does not answer.
        """
        self.open()
        with self._connection._reraise_as_library_errors():  # noqa: SLF001  # as Celery does
            return self._counts_none(queue)

    def _counts_none(self, queue: str) -> bool:
        channel = self._connection.channel()
        try:
            return bool(channel.queue_declare(queue, passive=True).message_count == 0)
        except self._connection.channel_errors:  # there is no such queue, or not any more
            return True
        finally:
            with suppress(*self._errors):
                channel.close()

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        connection = self._connection
        return (
            OperationalError,
            *connection.recoverable_connection_errors,
            *connection.recoverable_channel_errors,
        )

    def close(self) -> None:
        """Forget the connection; the next use opens another."""
        if self._connection is not None:
            with suppress(*self._errors):
                self._connection.close()
        self._connection = self._producer = None


def declared(known: Any, name: str, exchange: str, routing_key: str) -> list[Any]:
    """The queue, to be declared where it is known, or where the app makes it up and the message would reach it."""
    if name in known:
        return [known[name]]
    if not name or not known.create_missing:
        return []
    # Celery's own look-up would add it to what this worker consumes after it has lost its connection.
    made = known.new_missing(name)
    return [made] if not exchange or (made.exchange.name, made.routing_key) == (exchange, routing_key) else []
