"""A task's way to RabbitMQ: confirmed, never to nowhere, and delayed by the broker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from amqp.exceptions import NotFound
from kombu import Exchange
from kombu.common import Broadcast

from celeriac.errors import OptionError, Unroutable
from celeriac.transport.rabbitmq import delays
from celeriac.transport.rabbitmq.client import Returned, SSLTransport, Transport


def confirms(producer: Any) -> bool:
    """Whether what it publishes goes to RabbitMQ, which says when it has it."""
    connection = producer.connection
    return bool(connection.transport_options.get("confirm_publish")) and isinstance(
        connection.transport, (Transport, SSLTransport)
    )


def publish(app: Any, send: Callable[..., Any], producer: Any, name: str, message: Any, options: dict[str, Any]) -> Any:
    """Send the message of the task ``name`` with Celery's ``send``, to a queue or to nobody.

    Raises:
        Unroutable: no queue is bound there; nothing was sent.
        QueueConflict: queue or exchange was declared otherwise before; nothing was sent.
    """
    options.setdefault("mandatory", True)
    try:
        _open_way(app, producer, options)
        try:
            return send(producer, name, message, **options)
        except (Returned, NotFound):
            if not _declared_anew(app, producer, options):
                raise
            return send(producer, name, message, **options)
    except Returned as returned:
        raise Unroutable(name, returned.exchange, returned.routing_key) from None
    except NotFound as error:
        exchange = options.get("exchange") or ""
        raise Unroutable(name, getattr(exchange, "name", exchange), options.get("routing_key") or "") from error


def _declared_anew(app: Any, producer: Any, options: dict[str, Any]) -> bool:
    """Declare a task's queue and exchange again: kombu does so once a connection, and they may be gone since."""
    queue = options.get("queue")
    if queue is None and options.get("exchange") is None:
        queue = app.amqp.default_queue
    queue = app.amqp.queues[queue] if isinstance(queue, str) else queue
    if queue is None or isinstance(queue, Broadcast):
        return False
    with producer.connection.channel() as channel:  # the producer's own may be closed, by the error
        queue(channel).declare()
    return True


def _open_way(app: Any, producer: Any, options: dict[str, Any]) -> None:
    exchange, key = options.get("exchange"), options.get("routing_key") or ""
    if not isinstance(exchange, Exchange) or exchange.name != delays.ENTRANCE:
        return
    arrives_with = delays.routing_key_of(key)
    connection, kind = producer.connection, app.conf.broker_native_delayed_delivery_queue_type
    opened = connection.ensure(producer, delays.open_way, **app.conf.task_publish_retry_policy)
    for queue in list(app.amqp.queues.values()):
        if queue.routing_key == arrives_with:
            opened(connection, queue, kind)


#: A publish option that never leaves: until when the ledger keeps the message.
HELD = "celeriac_held_until"


def held_by_the_ledger(app: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The options, with ``eta`` and ``countdown`` where Celery does not see them: it would have the broker delay."""
    countdown, eta = options.get("countdown"), options.get("eta")
    if not countdown and not eta:
        return options
    until = eta or app.now() + timedelta(seconds=countdown or 0)
    return {**options, "eta": None, "countdown": None, HELD: until}


def say_until_when(message: Any, options: dict[str, Any]) -> None:
    """Write into a built message what `held_by_the_ledger` has kept from Celery."""
    until = options.pop(HELD, None)
    if until is not None:
        message.headers["eta"] = until.isoformat()


def delayed_by_the_broker(app: Any, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options, with ``eta`` and ``countdown`` as the broker takes them: whole seconds.

    Raises:
        OptionError: a delay of more than eight years.
    """
    countdown, eta = options.get("countdown"), options.get("eta")
    if not countdown and not eta:
        return options
    seconds = delays.whole_seconds(countdown, eta, app.now())
    if seconds > delays.LONGEST:
        raise OptionError(
            name,
            "eta" if eta else "countdown",
            f"RabbitMQ delays by {delays.LONGEST} seconds at most, not by {seconds}",
        )
    return {**options, "eta": None, "countdown": seconds or None}
