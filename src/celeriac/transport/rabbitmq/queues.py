"""The queues that celeriac declares on RabbitMQ, and the one that their dead letters go to."""

from __future__ import annotations

import re
from typing import Any

from amqp.exceptions import NotFound, PreconditionFailed
from kombu import Exchange, Queue

from celeriac.errors import QueueConflict

#: The exchange that tasks are sent to: Celery's own is a direct one, which cannot delay.
TASKS = "celeriac"
#: Exchange and queue of what RabbitMQ gives up on, one pair a virtual host.
DEAD_LETTERS = "celeriac.dead-letters"

#: Deliveries: a message goes back with every worker that stops, and so does its neighbour's that crashes.
DELIVERY_LIMIT = 100
#: Milliseconds a worker may hold a message: tasks have time limits of their own. RabbitMQ before 3.12 takes no notice.
CONSUMER_TIMEOUT = 24 * 60 * 60 * 1000

#: As RabbitMQ words a declaration that differs from the one before.
_DIFFERS = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)' for (?P<kind>queue|exchange) '(?P<name>[^']*)' .*?"
    r"received (?P<wanted>.+?) but current is (?P<there>.+)"
)
#: Most values are worded as "the value 'quorum' of type 'longstr'".
_VALUE = re.compile(r"the value '(?P<value>[^']*)' of type '[^']*'")

QUORUM = {"x-queue-type": "quorum"}
ARGUMENTS: dict[str, Any] = {
    **QUORUM,
    "x-delivery-limit": DELIVERY_LIMIT,
    "x-dead-letter-exchange": DEAD_LETTERS,
    # A dead letter leaves its queue only when the other one has it; that strategy asks for this overflow.
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
    "x-consumer-timeout": CONSUMER_TIMEOUT,
}


def dead_letters() -> Queue:
    """The queue of what the broker gave up on, bound to its exchange."""
    return Queue(DEAD_LETTERS, Exchange(DEAD_LETTERS, "fanout"), queue_arguments=dict(QUORUM))


class TaskQueue(Queue):  # type: ignore[misc]  # kombu's class is untyped at runtime
    """A quorum queue of tasks. Declaring it declares where its dead letters go."""

    def declare(self, nowait: bool = False, channel: Any = None) -> Any:
        """As kombu's.

        Raises:
            QueueConflict: it was declared otherwise before, and stays as it is.
        """
        channel = channel or self.channel
        connection = channel.connection
        try:
            dead_letters()(channel).declare(nowait=nowait)
            name = super().declare(nowait=nowait, channel=channel)
        except PreconditionFailed as error:
            raise conflict(error, connection) from error
        # What was delayed comes with the delay in front of its key; a queue that is made again has lost its bindings.
        self.bind_to(self.exchange.name, f"#.{self.routing_key}", nowait=nowait, channel=channel)
        return name


def conflict(error: Any, connection: Any) -> Any:
    """The error in words that say what is there; itself where it is of another kind."""
    differs = _DIFFERS.search(str(error))
    if differs is None:
        return error
    facts = {fact: _VALUE.sub(r"\g<value>", text).strip("'") for fact, text in differs.groupdict().items()}
    if facts["kind"] == "queue" and _is_classic(facts["name"], connection):
        facts |= {"argument": "x-queue-type", "wanted": "quorum", "there": "classic"}
    return QueueConflict(**facts)


def _is_classic(name: str, connection: Any) -> bool:
    """RabbitMQ names the first argument that differs, and that need not be the one that matters."""
    channel = connection.channel()
    try:
        channel.queue_declare(name, passive=True)
        channel.queue_declare(name, durable=True, auto_delete=False, arguments=QUORUM)
    except (PreconditionFailed, NotFound) as error:
        return "x-queue-type" in str(error)
    channel.close()
    return False


def task_queue(name: str, exchange: Exchange, routing_key: str | None = None) -> TaskQueue:
    """The declaration of a queue named by a route, by ``-Q``, or by default.

    Its routing key is one word by AMQP's count. What is delayed is bound by the *end* of its key, so that the queue
    ``mail`` would get a copy of what is delayed for ``eu.mail``.
    """
    return TaskQueue(name, exchange, routing_key or name.replace(".", "/"), queue_arguments=dict(ARGUMENTS))
