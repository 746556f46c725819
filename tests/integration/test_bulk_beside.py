"""Many tasks beside a ledger: together into it, or together confirmed by the broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group
from kombu import Exchange, Queue

from celeriac import BrokerUnavailable
from celeriac.core.message import LEDGER_HEADER, Published
from celeriac.errors import ArgumentError, PartlySent
from celeriac.publish.batch import SLICE
from celeriac.publish.confirmed import PublishUnknown
from celeriac.transport.rabbitmq.client import Channel
from tests.integration.keeping import Keep
from tests.integration.sites import BesideSite, lines
from tests.support.plugin import PROGRAMS


@pytest.fixture(params=["sqlite", "postgres"])
def site(tmp_path: Path, request: pytest.FixtureRequest, keep: Keep) -> BesideSite:
    return keep(BesideSite.of(tmp_path, "redis", request.param))


@pytest.fixture
def trips(site: BesideSite, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many messages went into the ledger in each transaction."""
    counted: list[int] = []
    publish = site.store.publish

    def counting(messages: Any) -> list[Published]:
        counted.append(len(messages))
        return publish(messages)

    monkeypatch.setattr(site.store, "publish", counting)
    return counted


def test_five_hundred_go_into_the_ledger_together(site: BesideSite, trips: list[int]) -> None:
    count = 2 * SLICE + 7
    sent = site.app.send_tasks(site.add.s(number, 1) for number in range(count))
    assert trips == [SLICE, SLICE, 7]
    assert site.in_broker() == 0  # a worker gives it what there is
    site.worker("threads", concurrency=4)
    site.wait_ended([result.id for result in sent])
    assert [result.get(timeout=30) for result in sent] == list(range(1, count + 1))


def test_a_group_and_a_chord_too_and_each_names_its_ledger(site: BesideSite, trips: list[int]) -> None:
    journal = site.file()
    members = group(site.add.s(number, 1) for number in range(60)).delay()
    nested = group(site.add.s(1, 1).set(countdown=0.1), chain(site.add.s(1, 1), site.add.s(1))).delay()
    joined = chord((site.add.s(number, 1) for number in range(40)), site.effect_of.s(journal)).delay()
    assert trips == [60, 2, 40]
    held = site.store.take_for_relay(200, 0.01)
    assert len(held) in (101, 102)  # one of them may not be due yet
    assert all(json.loads(item.envelope)[0][LEDGER_HEADER][0] == site.store.uuid for item in held)
    site.worker("threads", concurrency=4)
    assert members.get(timeout=60) == list(range(1, 61))
    assert nested.get(timeout=60) == [2, 3]
    assert joined.get(timeout=60) == list(range(1, 41))
    assert len(lines(journal)) == 1


# -- straight to RabbitMQ


@pytest.fixture
def straight(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[BesideSite]:
    site = BesideSite.of(tmp_path, "amqp", "sqlite")
    request.node.stash[PROGRAMS] = site.workers
    assert site.app.send_tasks([site.add.s(0, 0)])[0].id  # declares the queue
    yield site
    site.close()


class Counted:
    """How often a channel waited for the confirm of one message."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waits = 0
        wait = Channel._publish_and_wait

        def counting(channel: Channel, *args: Any, **kwargs: Any) -> Any:
            self.waits += 1
            return wait(channel, *args, **kwargs)

        monkeypatch.setattr(Channel, "_publish_and_wait", counting)


def test_the_broker_confirms_them_together(straight: BesideSite, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    sent = straight.app.send_tasks(straight.add.s(number, 1) for number in range(3 * SLICE))
    # The first opens the channel, and the second shows that there is a queue.
    assert counted.waits == 2
    assert straight.in_broker() == 3 * SLICE + 1
    straight.add.delay(1, 1)
    assert counted.waits == 3  # as ever
    straight.worker("threads", concurrency=4)
    straight.wait_ended([result.id for result in sent])


def test_a_group_s_members_go_into_the_ledger_together_for_they_are_named(
    straight: BesideSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    publish = straight.store.publish

    def counting(messages: Any) -> list[Published]:
        counted.append(len(messages))
        return publish(messages)

    monkeypatch.setattr(straight.store, "publish", counting)
    members = group(straight.add.s(number, 1) for number in range(60)).delay()
    assert counted == [60]
    straight.worker("threads", concurrency=4)
    assert members.get(timeout=60) == list(range(1, 61))


def test_what_was_on_a_connection_that_is_gone_is_unknown(
    straight: BesideSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kombu sends the one that fails again on a new connection, and knows nothing of those before it."""
    published, publish = [], Channel._basic_publish

    def losing(channel: Channel, *args: Any, **kwargs: Any) -> Any:
        published.append(channel)
        if len(published) == SLICE + 300:
            channel.connection.collect()
            raise ConnectionResetError("gone")
        return publish(channel, *args, **kwargs)

    monkeypatch.setattr(Channel, "_basic_publish", losing)
    with pytest.raises(PartlySent) as raised:
        straight.app.send_tasks(straight.add.s(number, 1) for number in range(3 * SLICE))
    assert 2 <= raised.value.sent < SLICE + 300
    assert isinstance(raised.value.__cause__, PublishUnknown)
    monkeypatch.undo()
    assert straight.app.send_tasks([straight.add.s(1, 1)])[0].id


def test_what_the_broker_refuses_is_not_said_to_be_sent(tmp_path: Path) -> None:
    site = BesideSite.of(tmp_path, "amqp", "sqlite")
    try:
        full = {"x-max-length": 100, "x-overflow": "reject-publish"}
        site.app.conf.task_queues = [Queue(site.name, Exchange(site.name), site.name, queue_arguments=full)]
        with pytest.raises(PartlySent, match="refused") as raised:
            site.app.send_tasks(site.add.s(number, 1) for number in range(300))
        assert 2 <= raised.value.sent <= 100  # nothing is said of what is behind the first that was refused
        assert isinstance(raised.value.__cause__, BrokerUnavailable)
        assert site.in_broker() == 100
        with pytest.raises(BrokerUnavailable, match="refused"):
            site.add.delay(1, 1)
    finally:
        site.close()


def test_a_bad_argument_among_them_says_how_many_the_broker_has(straight: BesideSite) -> None:
    with pytest.raises(PartlySent) as raised:
        straight.app.send_tasks([*(straight.add.s(1, 1) for _ in range(30)), straight.add.s(1, object())])
    assert raised.value.sent == 30
    assert isinstance(raised.value.__cause__, ArgumentError)
    assert straight.in_broker() == 31
