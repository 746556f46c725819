"""Delayed messages, which RabbitMQ holds in queues of 1, 2, 4, … seconds: Celery's native delayed delivery.

Celery's worker makes those queues when it starts. A message sent before the first worker ran would be refused, and one for
a queue that no worker had known yet would find no way out of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from amqp.exceptions import NotFound
from kombu.common import maybe_declare
from kombu.transport import native_delayed_delivery as native

#: Seconds, over eight years: the digits of the delay are those of the routing key.
LONGEST = 2**native.MAX_NUMBER_OF_BITS_TO_USE - 1
ENTRANCE = native.level_name(native.MAX_LEVEL)
EXIT = native.CELERY_DELAYED_DELIVERY_EXCHANGE
_PREFIX = 2 * native.MAX_NUMBER_OF_BITS_TO_USE


def whole_seconds(countdown: float | None, eta: datetime | None, now: datetime) -> int:
    """The delay rounded up, so that nothing is early; Celery cuts it off, and fails on what is left of half a second."""
    if eta is not None:
        countdown = (eta - now).total_seconds()
    return max(0, math.ceil(countdown or 0))


def routing_key_of(key: str) -> str:
    """The routing key that a delayed message arrives with."""
    return key[_PREFIX:]


def open_way(connection: Any, queue: Any, queue_type: str) -> None:
    """Make the queues of the delays, unless they are there, and let what leaves them reach ``queue``."""
    known = ("delayed", queue.name)
    connection.default_channel  # noqa: B018  # the first access connects, and forgets what was known of a connection before
    if known in connection.declared_entities:
        return
    if not _is_there(connection):
        with _channel(connection) as channel:
            native.declare_native_delayed_delivery_exchanges_and_queues(_giving(channel), queue_type)
    with _channel(connection) as channel:
        maybe_declare(queue, channel)
        native.bind_queue_to_native_delayed_delivery_exchange(_giving(channel), queue)
    connection.declared_entities.add(known)


def _is_there(connection: Any) -> bool:
    """Whether all of it is: the exit is made last, and what follows it is made good here."""
    with _channel(connection) as channel:
        try:
            channel.exchange_declare(EXIT, "topic", passive=True)
            channel.exchange_bind(EXIT, native.level_name(0), f"{'*.' * native.MAX_LEVEL}0.#")
        except NotFound:
            return False
    return True


@contextmanager
def _channel(connection: Any) -> Iterator[Any]:
    channel = connection.channel()
    try:
        yield channel
    finally:
        if channel.is_open:  # the broker closes it at an error
            channel.close()


def _giving(channel: Any) -> Any:
    """What kombu takes for a connection: it would leave every channel it opens there open."""
    return SimpleNamespace(channel=lambda: channel)
