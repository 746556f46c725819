"""A channel whose queues declare their places claims in turns; one whose queues do not claims as ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from celeriac.core.message import TaskMessage
from celeriac.core.routing import Share
from celeriac.transport import sqlite
from celeriac.transport.channel import Channel
from celeriac.transport.envelope import pack

sqlite.register()


class Consumer:
    """Consumes some queues of a store, and asks what is claimed of which."""

    def __init__(self, connection: Connection, queues: Sequence[str], prefetch: int, **shares: Share) -> None:
        self.channel: Channel = connection.default_channel
        self.transport = self.channel.connection
        self.transport.adaptive = False
        self.transport.shares = shares
        self.got: list[Any] = []
        self.claims: list[list[str]] = []
        claim = self.channel.store.claim

        def noted(queues: Sequence[str], limit: int, **options: Any) -> Any:
            self.claims.append(list(queues))
            return claim(queues, limit, **options)

        self.channel.store.claim = noted
        self.channel.qos.prefetch.adaptive = False
        self.channel.basic_qos(0, prefetch)
        for queue in queues:
            self.channel.basic_consume(queue, False, self.got.append, f"tag-{queue}")

    def publish(self, queue: str, count: int) -> None:
        envelope = pack({}, {"delivery_info": {}}, "application/json", "utf-8")
        self.channel.store.publish([TaskMessage(queue, envelope, "[]") for _ in range(count)])

    def poll(self) -> Counter[str]:
        """What came, by queue."""
        before = len(self.got)
        self.channel.poll(lambda: True)
        by_tag = {tag: held.queue for tag, held in self.channel.qos.outstanding.items()}
        return Counter(by_tag[message.delivery_tag] for message in self.got[before:])

    def ack(self, count: int) -> None:
        for message in self.got[:count]:
            message.ack()
        del self.got[:count]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    with Connection(f"sqlite:///{tmp_path}/s.db") as connection:
        yield connection
        connection.default_channel.connection.keeper.stop()
        connection.default_channel.store.close()


def test_without_a_declaration_each_queue_is_first_in_turn(connection: Connection) -> None:
    consumer = Consumer(connection, ["a", "b"], 4, other=Share(3))
    assert consumer.channel._turns is None
    for queue in "ab":
        consumer.publish(queue, 10)
    assert consumer.poll() == Counter(b=4)
    consumer.ack(4)
    assert consumer.poll() == Counter(a=4)
    assert consumer.claims == [["b", "a"], ["a", "b"]]


def test_claims_are_shared_by_weight(connection: Connection) -> None:
    consumer = Consumer(connection, ["a", "b"], 4, a=Share(3))
    for queue in "ab":
        consumer.publish(queue, 50)
    found: Counter[str] = Counter()
    for _ in range(10):
        found += consumer.poll()
        consumer.ack(4)
    assert found == Counter(a=30, b=10)


def test_a_strict_queue_goes_first(connection: Connection) -> None:
    consumer = Consumer(connection, ["a", "b"], 4, b=Share(strict=True))
    consumer.publish("a", 10)
    consumer.publish("b", 3)
    assert consumer.poll() == Counter(b=3, a=1)


def test_no_more_of_a_queue_is_held_than_it_says_until_some_of_it_is_over(connection: Connection) -> None:
    consumer = Consumer(connection, ["a", "b"], 8, a=Share(most=2))
    consumer.publish("a", 10)
    consumer.publish("b", 3)
    assert consumer.poll() == Counter(a=2, b=3)
    assert consumer.poll() == Counter()
    assert consumer.channel.wants_more, "of b"
    first = next(
        message for message in consumer.got if consumer.channel.qos.outstanding[message.delivery_tag].queue == "a"
    )
    first.ack()
    assert consumer.poll() == Counter(a=1)


def test_a_channel_that_may_hold_no_more_of_anything_asks_for_nothing(connection: Connection) -> None:
    consumer = Consumer(connection, ["a"], 8, a=Share(most=2))
    consumer.publish("a", 10)
    assert consumer.poll() == Counter(a=2)
    assert not consumer.channel.wants_more
    claims = len(consumer.claims)
    assert consumer.poll() == Counter()
    assert len(consumer.claims) == claims
    consumer.ack(1)
    assert consumer.channel.wants_more


def test_a_queue_that_is_consumed_no_more_has_no_turn(connection: Connection) -> None:
    consumer = Consumer(connection, ["a", "b"], 8, a=Share(3))
    consumer.channel.basic_cancel("tag-a")
    consumer.publish("a", 1)
    consumer.publish("b", 1)
    assert consumer.channel._turns is None
    assert consumer.poll() == Counter(b=1)
