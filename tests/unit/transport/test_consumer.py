from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from celeriac.transport.consumer import QUEUE, NamingConsumer


@pytest.fixture
def connection() -> Iterator[Connection]:
    with Connection("memory://") as opened:
        yield opened


def test_a_message_says_from_which_queue_it_came(connection: Connection) -> None:
    """Whatever exchange and key it was published with; not where everybody gets a copy."""
    topic, everybody = Exchange("naming", type="topic"), Exchange("naming-all", type="fanout")
    queues = [
        Queue("naming-a", topic, routing_key="a.#"),
        Queue("naming-b", topic, routing_key="b.#"),
        Queue("naming-c", everybody),
    ]
    seen: list[Any] = []

    def take(message: Any) -> None:
        seen.append(message.delivery_info.get(QUEUE))
        message.ack()

    with NamingConsumer(connection.default_channel, queues, on_message=take):
        producer = connection.Producer()
        producer.publish({}, exchange=topic, routing_key="b.x")
        producer.publish({}, exchange=topic, routing_key="a.x")
        producer.publish({}, exchange=everybody)
        for _ in range(3):
            connection.drain_events(timeout=5)
    assert sorted(seen, key=str) == [None, "naming-a", "naming-b"]
