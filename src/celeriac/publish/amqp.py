"""A task's way out: from Celery's message to the store, past kombu's producer where it adds nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

import kombu
from celery import signals
from celery.app import amqp

from celeriac.core.message import DELIVERY_HEADER, LEDGER_HEADER, WORKFLOW_HEADER, Published, TaskMessage
from celeriac.core.queue_limits import QueueLimits
from celeriac.publish import limits, rabbitmq
from celeriac.publish.chains import NOTHING, Keeping
from celeriac.publish.outgoing import send
from celeriac.publish.queues import Queues, of_our_kind
from celeriac.publish.routes import Router
from celeriac.publish.serialising import serialised
from celeriac.publish.workflows import apart, membership, take_along, taken_along
from celeriac.store.protocols import Store
from celeriac.transport.connection import Connection
from celeriac.transport.consumer import NamingConsumer
from celeriac.transport.envelope import clamp_priority
from celeriac.transport.rabbitmq.queues import task_queue
from celeriac.transport.unavailable import publishing


class Outgoing:
    """Stands where Celery hands a producer through, and brings back what became of the publish."""

    def __init__(self, store: Store, stamp: list[str] | None = None) -> None:
        self.store = store
        #: Names the ledger in messages that another broker will be given.
        self.stamp = stamp
        self.published: Published | None = None
        self.serializer: str | None = None
        #: What the message that is being built brings along of long chains.
        self.keeping: Keeping = NOTHING

    def label(self, headers: dict[str, Any]) -> None:
        """Have a message's headers name its ledger, and no delivery: Celery copies a delivery's into its retry."""
        headers.pop(DELIVERY_HEADER, None)
        part = membership(headers.get("id") or "")
        if part is not None:
            headers[WORKFLOW_HEADER] = part
        if self.stamp:
            headers[LEDGER_HEADER] = self.stamp

    def put(self, message: TaskMessage, afterwards: Callable[[], None]) -> None:
        """Send the message, and tell of it."""
        self.published = send(self.store, [take_along(message)])[0]
        taken_along(message)
        afterwards()

    def limit(self, queues: QueueLimits, task: Any, body: Any, headers: dict[str, Any]) -> None:
        """Have a message's headers carry the limits of its queue.

        Raises:
            ArgumentError: no key can be made of an argument.
        """
        limits.add_queues(queues, task, body, headers)

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


class Target(NamedTuple):
    """Where a message goes: to a queue, or to an exchange that decides."""

    queue: str
    exchange: str
    routing_key: str


class AMQP(amqp.AMQP):  # type: ignore[misc]  # Celery has no types
    """Celery's message builder with a short way into a store."""

    Connection = Connection
    queues_cls = Queues

    def Queues(self, queues: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N802  # Celery's name
        """As Celery's; on RabbitMQ those whose kind is left to the app are of celeriac's."""
        conf, ours = self.app.conf, self.app.declares_queues
        if ours and queues:
            queues = of_our_kind(queues, self.default_exchange)
        elif ours and conf.task_default_queue:
            key = conf.task_default_routing_key if self.app.user_sets("task_default_routing_key") else None
            queues = [task_queue(conf.task_default_queue, self.default_exchange, key)]
        made = super().Queues(queues, *args, **kwargs)
        made.ours = ours
        return made

    @property
    def Consumer(self) -> Any:  # noqa: N802  # Celery's name for the class
        """The class of what consumes tasks."""
        return NamingConsumer if self.app.ledger_beside or self.queues.own else kombu.Consumer

    def Router(self, queues: Any = None, create_missing: Any = None) -> Router:  # noqa: N802  # Celery's name for it
        """As Celery's, naming what was meant instead of a queue that nobody declares."""
        create = self.app.either("task_create_missing_queues", create_missing)
        return Router(self.routes, queues or self.queues, create, app=self.app)

    def _create_task_sender(self) -> Any:
        celery_sender = super()._create_task_sender()
        conf = self.app.conf
        default_serializer, default_compression = conf.task_serializer, conf.task_compression
        before, after = signals.before_task_publish, signals.after_task_publish

        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            rabbitmq.say_until_when(message, options)
            if not isinstance(producer, Outgoing):
                return self._send_on(producer, celery_sender, name, message, options)
            target = self._target(producer, options)
            if target is None:
                return producer.send_elsewhere(partial(self._through_kombu, celery_sender, name, message, options))
            headers, properties, body, sent_event = message
            extra = options.get("headers")
            if extra:
                headers.update(extra)
            producer.label(headers)
            self._limit(producer, target.queue, name, body, headers)
            event_fields = {"exchange": target.exchange, "routing_key": target.routing_key}
            if before.receivers:
                with apart():
                    before.send(
                        sender=name,
                        body=body,
                        declare=None,
                        headers=headers,
                        properties=properties,
                        retry_policy=None,
                        **event_fields,
                    )
            properties["priority"] = clamp_priority(self._priority(target.queue, options))
            properties["delivery_info"] = event_fields
            serializer = options.get("serializer") or default_serializer
            compression = options.get("compression") or default_compression
            outgoing = serialised(target.queue, body, headers, properties, serializer, compression)
            outgoing.chains = producer.keeping.serialised(serializer)

            def afterwards() -> None:
                if after.receivers:
                    with apart():
                        after.send(sender=name, body=body, headers=headers, **event_fields)
                if sent_event:
                    self._announce(sent_event, target.queue, options.get("event_dispatcher"))

            producer.put(outgoing, afterwards)
            return None

        return send_task_message

    def _through_kombu(self, sender: Any, name: str, message: Any, options: dict[str, Any]) -> Any:
        options = self._as_an_exchange_gives(options)
        with apart(), self.app.producer_or_acquire() as real:  # as what its signals' receivers send
            return sender(real, name, message, **options)

    def _send_on(self, producer: Any, send: Any, name: str, message: Any, options: dict[str, Any]) -> Any:
        """By a real producer, to a broker that may be RabbitMQ."""
        queue = options.get("queue")
        if options.get("priority") is None and queue is not None:
            options["priority"] = self._priority(getattr(queue, "name", queue), options)
        options = self._as_an_exchange_gives(options)
        if rabbitmq.confirms(producer):
            return rabbitmq.publish(self.app, send, producer, name, message, options)
        return send(producer, name, message, **options)

    def _limit(self, producer: Outgoing, queue: str, name: str, body: Any, headers: dict[str, Any]) -> None:
        known = self.queues.limited.get(queue)
        if known is not None:
            producer.limit(known, self.app._tasks.get(name), body, headers)  # noqa: SLF001  # `tasks` would finalize the app

    def _as_an_exchange_gives(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options of what comes to a queue whose limits nobody can add before: not with half, the worker adds all."""
        return limits.without_limits(options) if self.queues.limited else options

    def _priority(self, queue: str, options: dict[str, Any]) -> Any:
        """What the call, its task or the app says, else its queue."""
        given, own = options.get("priority"), self.queues.own.get(queue)
        return own.priority if given is None and own is not None else given

    def _target(self, producer: Outgoing, options: dict[str, Any]) -> Target | None:
        """The one queue a message goes to; None when an exchange has to decide, and the store cannot ask it later."""
        queue = options.get("queue")
        if queue is None and options.get("exchange") is None:
            queue = self.default_queue
        if isinstance(queue, str):
            queue = self.queues[queue]
        kind = options.get("exchange_type") or getattr(getattr(queue, "exchange", None), "type", None) or "direct"
        explicit = options.get("exchange") and options.get("routing_key")
        if queue is not None and kind == "direct" and not explicit:
            return Target(str(queue.name), "", str(queue.name))
        # A relay publishes to any exchange; what goes to all workers has no end of its own.
        if producer.stamp is None or kind == "fanout":
            return None
        return _by_exchange((explicit and self.queues.bound_to(options)) or queue, options)

    def _announce(self, sent_event: dict[str, Any], queue: str, dispatcher: Any) -> None:
        with self.app.producer_or_acquire() as real:
            event = dict(sent_event, queue=queue, exchange="", routing_key=queue)
            (dispatcher or self._event_dispatcher).publish("task-sent", event, real)


def _by_exchange(queue: Any, options: dict[str, Any]) -> Target:
    exchange = options.get("exchange") or getattr(queue, "exchange", "")
    key = options.get("routing_key") or getattr(queue, "routing_key", None) or ""
    name = str(getattr(exchange, "name", exchange))
    return Target(str(getattr(queue, "name", None) or key or name), name, str(key))
