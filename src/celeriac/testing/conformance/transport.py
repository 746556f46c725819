# ruff: noqa: PLR2004  # expected figures are the point of a check
"""What every transport of celeriac's own must show to kombu, and so to Celery.

A transport passes with ``class TestMine(TransportConformance)`` in a module
whose fixture ``broker_url`` yields the URL of an empty broker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from kombu import Connection, Consumer, Exchange, Producer, Queue

import celeriac  # noqa: F401  # tells kombu of its transports

#: Seconds within which a message that is there must have come.
SOON = 10.0


class TransportConformance:
    """Publish, consume, acknowledge, broadcast through kombu's own classes."""

    @pytest.fixture
    def connection(self, broker_url: str) -> Iterator[Any]:
        """One process's connection."""
        with Connection(broker_url) as connection:
            yield connection

    @pytest.fixture
    def other(self, broker_url: str) -> Iterator[Any]:
        """A second connection of the same process."""
        with Connection(broker_url) as connection:
            yield connection

    # -- out and in

    @pytest.mark.parametrize("body", [{"order": 7, "name": "żółw"}, [1, None, True], "text"])
    def test_a_message_arrives_as_it_was_sent(self, connection: Any, body: object) -> None:
        _send(connection, body, headers={"trace": "t1"}, priority=3, correlation_id="c1")
        [message] = _receive(connection, 1)
        assert message.payload == body
        assert message.headers == {"trace": "t1"}
        assert message.properties["correlation_id"] == "c1"
        assert message.delivery_info["priority"] == 3
        assert not message.delivery_info["redelivered"]

    def test_bytes_arrive_as_bytes(self, connection: Any) -> None:
        raw = bytes(range(256))
        _send(connection, raw, serializer="raw")
        assert bytes(_receive(connection, 1)[0].body) == raw

    def test_compressed_bodies_are_opened(self, connection: Any) -> None:
        _send(connection, "x" * 10_000, compression="zlib")
        assert _receive(connection, 1)[0].payload == "x" * 10_000

    def test_higher_priorities_come_first(self, connection: Any) -> None:
        for priority in (0, 9, 5, 9, 0):
            _send(connection, priority, priority=priority)
        assert _payloads(_receive(connection, 5)) == [9, 9, 5, 0, 0]

    def test_an_eta_is_waited_for_in_the_broker(self, connection: Any) -> None:
        due = datetime.now(timezone.utc) + timedelta(seconds=0.6)
        headers = {"id": "t1", "task": "shop.charge", "eta": due.isoformat()}
        _send(connection, "later", headers=headers)
        assert _receive(connection, 1, wait=0.2) == []
        [message] = _receive(connection, 1)
        assert datetime.now(timezone.utc) >= due
        assert message.headers["eta"] is None

    # -- acknowledged, refused, handed back

    def test_nothing_is_waited_for_as_long_as_asked(self, connection: Any) -> None:
        """Whoever collects replies takes the end of the wait for the last of them."""
        with Consumer(connection.channel(), [Queue("silent")]):
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=1.2)
        assert time.monotonic() - began >= 1.2

    def test_what_is_acknowledged_is_gone(self, connection: Any) -> None:
        _send(connection, 1)
        _receive(connection, 1)[0].ack()
        assert _size(connection) == 0
        assert _receive(connection, 1, wait=0.1) == []

    def test_what_is_requeued_comes_again(self, connection: Any) -> None:
        _send(connection, 1)
        _receive(connection, 1)[0].requeue()
        [again] = _receive(connection, 1)
        assert (again.payload, again.delivery_info["redelivered"]) == (1, True)

    def test_what_is_refused_does_not(self, connection: Any) -> None:
        _send(connection, 1)
        _receive(connection, 1)[0].reject()
        assert _receive(connection, 1, wait=0.1) == []

    def test_a_closed_channel_hands_back_what_it_held(self, connection: Any, other: Any) -> None:
        for number in range(3):
            _send(connection, number)
        with connection.channel() as channel:
            assert _payloads(_receive(connection, 3, channel=channel)) == [0, 1, 2]
            assert _receive(other, 1, wait=0.1) == []
        assert _payloads(_receive(other, 3)) == [0, 1, 2]

    def test_without_acknowledgements_a_delivery_is_the_end(self, connection: Any) -> None:
        _send(connection, 1)
        assert _payloads(_receive(connection, 1, no_ack=True)) == [1]
        assert _size(connection) == 0

    def test_a_prefetch_count_limits_what_is_held(self, connection: Any) -> None:
        for number in range(6):
            _send(connection, number)
        with connection.channel() as channel:
            channel.basic_qos(prefetch_count=2)
            held = _receive(connection, 6, channel=channel, wait=0.2)
            assert _payloads(held) == [0, 1]
            for message in held:
                message.ack()
            assert _payloads(_receive(connection, 2, channel=channel)) == [2, 3]

    def test_one_message_may_be_fetched(self, connection: Any) -> None:
        with connection.SimpleQueue("celery") as queue:
            queue.put({"n": 1})
            message = queue.get(timeout=SOON)
            assert message.payload == {"n": 1}
            message.ack()
            with pytest.raises(queue.Empty):
                queue.get(block=False)

    # -- waiting

    def test_waiting_ends_with_its_time_out(self, connection: Any) -> None:
        with Consumer(connection, [Queue("celery")], callbacks=[_ignore]):
            begun = time.monotonic()
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=0.2)
            assert 0.2 <= time.monotonic() - begun < 2

    def test_a_cancelled_consumer_gets_nothing(self, connection: Any) -> None:
        with Consumer(connection, [Queue("celery")], callbacks=[_ignore]):
            pass
        _send(connection, 1)
        assert _size(connection) == 1

    # -- queues

    def test_queues_are_counted_purged_and_deleted(self, connection: Any) -> None:
        for number in range(3):
            _send(connection, number)
        assert _size(connection) == 3
        bound = Queue("celery")(connection.default_channel)
        assert bound.purge() == 3
        assert _size(connection) == 0
        _send(connection, 1)
        bound.delete()
        assert _receive(connection, 1, wait=0.1) == []

    def test_a_topic_reaches_the_queues_whose_pattern_fits(self, connection: Any, other: Any) -> None:
        exchange = Exchange("news", type="topic")
        for name, pattern in (("all", "news.#"), ("sport", "news.sport.*"), ("none", "weather.*")):
            Queue(name, exchange, routing_key=pattern)(connection.default_channel).declare()
        producer = Producer(other, exchange)
        for key in ("news.sport.chess", "news.politics"):
            producer.publish(key, routing_key=key, declare=[exchange])
        sizes = {name: _size(connection, name) for name in ("all", "sport", "none")}
        assert sizes == {"all": 2, "sport": 1, "none": 0}

    # -- fanout

    def test_a_broadcast_reaches_every_listener_from_then_on(self, connection: Any, other: Any) -> None:
        exchange = Exchange("pidbox", type="fanout")
        Producer(connection, exchange).publish("too early", declare=[exchange])
        heard: list[list[object]] = [[], []]
        with _listen(connection, exchange, "first", heard[0]), _listen(other, exchange, "second", heard[1]):
            Producer(connection, exchange).publish("now")
            _drain(connection, lambda: heard[0], SOON)
            _drain(other, lambda: heard[1], SOON)
        assert heard == [["now"], ["now"]]

    def test_a_flood_of_broadcasts_is_heard_whole(self, connection: Any, other: Any) -> None:
        exchange = Exchange("events", type="fanout")
        heard: list[object] = []
        spoken = list(range(1_200))
        with _listen(other, exchange, "flood", heard):
            producer = Producer(connection, exchange)
            for number in spoken:
                producer.publish(number)
            _drain(other, lambda: len(heard) >= len(spoken), SOON)
        assert heard == spoken


# -- short ways


def _send(connection: Any, body: object, **options: Any) -> None:
    Producer(connection).publish(body, routing_key="celery", exchange="", declare=[Queue("celery")], **options)


def _receive(connection: Any, count: int, *, wait: float = SOON, channel: Any = None, **options: Any) -> list[Any]:
    """Up to ``count`` messages, not acknowledged; fewer when they do not come in time."""
    got: list[Any] = []
    own = channel or connection.default_channel
    with Consumer(own, [Queue("celery")], on_message=got.append, **options):
        _drain(connection, lambda: len(got) >= count, wait)
    return got


def _drain(connection: Any, done: Callable[[], object], wait: float) -> None:
    end = time.monotonic() + wait
    while not done() and (left := end - time.monotonic()) > 0:
        try:
            connection.drain_events(timeout=min(left, 0.5))
        except TimeoutError:
            continue


def _listen(connection: Any, exchange: Any, name: str, into: list[object]) -> Any:
    queue = Queue(name, exchange, exclusive=True)
    consumer = Consumer(connection, [queue], callbacks=[lambda body, _: into.append(body)], no_ack=True)
    consumer.consume()
    return consumer


def _ignore(body: object, message: Any) -> None:
    """A callback."""


def _payloads(messages: list[Any]) -> list[object]:
    return [message.payload for message in messages]


def _size(connection: Any, name: str = "celery") -> int:
    counts = {
        Queue(name)(connection.default_channel).queue_declare(passive=passive).message_count
        for passive in (True, False)
    }
    assert len(counts) == 1
    return int(counts.pop())
