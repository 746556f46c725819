"""A task's way out: from Celery's message to the store, past kombu's producer where it adds nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from celery import signals
from celery.app import amqp
from kombu.compression import compress
from kombu.exceptions import OperationalError
from kombu.serialization import dumps

from celeriac.core.message import DELIVERY_HEADER, Published, TaskMessage
from celeriac.errors import StoreUnavailable
from celeriac.publish.outgoing import send
from celeriac.store.protocols import Store
from celeriac.transport.envelope import clamp_priority, pack, task_columns


class BrokerUnavailable(StoreUnavailable, OperationalError):  # type: ignore[misc]  # kombu's class is untyped
    """Nothing can be published now. Also the error that code for other brokers catches: kombu's `OperationalError`."""


@contextmanager
def publishing() -> Iterator[None]:
    """Raise what a store that cannot be written, or opened, says as the error of a broker."""
    try:
        yield
    except BrokerUnavailable:
        raise
    except StoreUnavailable as error:
        raise BrokerUnavailable(error.location, error.detail) from error


class Outgoing:
    """Stands where Celery hands a producer through, and brings back what became of the publish."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.published: Published | None = None
        self.serializer: str | None = None

    def put(self, message: TaskMessage, afterwards: Callable[[], None]) -> None:
        """Send the message, and tell of it."""
        self.published = send(self.store, [message])[0]
        afterwards()

    def send_elsewhere(self, sender: Callable[[], Any]) -> Any:
        """What an exchange has to route goes through kombu."""
        return sender()

    def __enter__(self) -> Outgoing:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was acquired."""

    @property
    def connection(self) -> Outgoing:
        """Celery asks the producer's connection to translate errors."""
        return self

    def _reraise_as_library_errors(self) -> AbstractContextManager[None]:
        return publishing()


class AMQP(amqp.AMQP):  # type: ignore[misc]  # Celery has no types
    """Celery's message builder with a short way into a store."""

    def _create_task_sender(self) -> Any:
        celery_sender = super()._create_task_sender()
        conf = self.app.conf
        default_serializer, default_compression = conf.task_serializer, conf.task_compression
        before, after = signals.before_task_publish, signals.after_task_publish

        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            if not isinstance(producer, Outgoing):
                return celery_sender(producer, name, message, **options)
            target = self._direct_queue(options)
            if target is None:
                return producer.send_elsewhere(partial(self._through_kombu, celery_sender, name, message, options))
            headers, properties, body, sent_event = message
            extra = options.get("headers")
            if extra:
                headers.update(extra)
            # Celery copies a delivery's headers into its retry.
            headers.pop(DELIVERY_HEADER, None)
            event_fields = {"exchange": "", "routing_key": target}
            if before.receivers:
                before.send(
                    sender=name,
                    body=body,
                    declare=None,
                    headers=headers,
                    properties=properties,
                    retry_policy=None,
                    **event_fields,
                )
            content_type, encoding, data = dumps(body, options.get("serializer") or default_serializer)
            compression = options.get("compression") or default_compression
            if compression:
                data, headers["compression"] = compress(data, compression)
            priority = clamp_priority(options.get("priority"))
            properties["priority"] = priority
            properties["delivery_info"] = event_fields
            outgoing = TaskMessage(
                target,
                pack(headers, properties, content_type, encoding),
                data,
                priority=priority,
                **task_columns(headers),
            )

            def afterwards() -> None:
                if after.receivers:
                    after.send(sender=name, body=body, headers=headers, **event_fields)
                if sent_event:
                    self._announce(sent_event, target, options.get("event_dispatcher"))

            producer.put(outgoing, afterwards)
            return None

        return send_task_message

    def _through_kombu(self, sender: Any, name: str, message: Any, options: dict[str, Any]) -> Any:
        with self.app.producer_or_acquire() as real:
            return sender(real, name, message, **options)

    def _direct_queue(self, options: dict[str, Any]) -> str | None:
        """The one queue a message goes to; None when an exchange has to decide."""
        queue = options.get("queue")
        if queue is None and options.get("exchange") is None:
            queue = self.default_queue
        if isinstance(queue, str):
            queue = self.queues[queue]
        if queue is None:
            return None
        kind = options.get("exchange_type") or getattr(queue.exchange, "type", None) or "direct"
        explicit = options.get("exchange") and options.get("routing_key")
        return None if kind != "direct" or explicit else str(queue.name)

    def _announce(self, sent_event: dict[str, Any], queue: str, dispatcher: Any) -> None:
        with self.app.producer_or_acquire() as real:
            event = dict(sent_event, queue=queue, exchange="", routing_key=queue)
            (dispatcher or self._event_dispatcher).publish("task-sent", event, real)
