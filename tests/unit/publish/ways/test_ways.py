"""Each way alone: what it gives Celery to build, and what it makes of the answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from celeriac import BrokerUnavailable, Celery
from celeriac.core.message import KEY_HEADER, LEDGER_HEADER, Published, TaskMessage
from celeriac.core.transactions import publishing_within
from celeriac.publish.amqp import Outgoing
from celeriac.publish.arguments import UnsendableArgument
from celeriac.publish.batch import joining
from celeriac.publish.confirmed import PublishUnknown
from celeriac.publish.rabbitmq import HELD
from celeriac.publish.recording import Recorder
from celeriac.publish.ways.broker import Elsewhere, Straight, ToBroker
from celeriac.publish.ways.call import Call, Preparing
from celeriac.publish.ways.outbox import Spared, ToOutbox
from celeriac.publish.ways.store import ToBatch, ToLedger, ToStore

RABBITMQ = "amqp://shop:secret@queue.internal"


class Sends:
    """In the place of Celery's ``send_task``."""

    def __init__(self, error: Exception | None = None, published: Published | None = None) -> None:
        self.error, self.published = error, published
        self.calls: list[dict[str, Any]] = []

    def __call__(self, name: str, args: Any, kwargs: Any, **options: Any) -> str:
        self.calls.append(options)
        if self.error is not None:
            raise self.error
        if self.published is not None:
            options["producer"].published = self.published
        return "the result"

    @property
    def options(self) -> dict[str, Any]:
        [options] = self.calls
        return options


def call(task: Any = None, **options: Any) -> Call:
    return Call("charge", task, (7,), {}, options)


def keyed(app: Celery) -> Any:
    @app.task(name="charge", idempotency_key="{order}", shared=False)
    def charge(order: int) -> None: ...

    return app.tasks["charge"]


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/shop.db", set_as_current=False)
    yield app
    app.close()
    app.store.close()


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("shop", broker=RABBITMQ, ledger=f"sqlite:///{tmp_path}/ledger.db", set_as_current=False)
    yield app
    app.close()
    app.store.close()


@pytest.fixture
def plain() -> Iterator[Celery]:
    app = Celery("shop", broker="redis://:secret@cache", set_as_current=False)
    yield app
    app.close()


def test_elsewhere_is_as_celery_sends_it(embedded: Celery) -> None:
    sends, given = Sends(), object()
    assert Elsewhere(embedded, sends).send(call(connection=given, eta="2030-01-01")) == "the result"
    assert sends.options == {"connection": given, "eta": "2030-01-01"}


@pytest.mark.parametrize("way", [ToStore, ToLedger, Straight, ToOutbox, ToBatch])
def test_what_cannot_travel_is_refused_and_what_follows_is_looked_at(beside: Celery, way: type[Preparing]) -> None:
    sends = Sends()
    following = beside.signature("mail", (object(),))
    with pytest.raises(UnsendableArgument, match="mail"):
        way(beside, sends).send(call(link=[following]))  # type: ignore[attr-defined]
    assert sends.calls == []


def test_the_store_gets_the_key_and_the_moment_in_a_zone(embedded: Celery) -> None:
    sends, task = Sends(), keyed(embedded)
    assert ToStore(embedded, sends).send(call(task, expires="2030-01-01T10:00:00")) == "the result"
    assert sends.options["headers"][KEY_HEADER]["key"] == "7"
    assert sends.options["expires"].tzinfo is not None
    assert sends.options["task_id"]
    assert (sends.options["producer"].store, sends.options["producer"].stamp) == (embedded.store, None)


def test_whose_key_is_held_gets_the_holders_result(embedded: Celery) -> None:
    found = ToStore(embedded, Sends(published=Published("b", duplicate_of="a"))).send(call(keyed(embedded)))
    assert found.id == "a"


def test_what_lives_already_is_told_of(embedded: Celery, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "celeriac"):
        ToStore(embedded, Sends(published=Published("a", live=True))).send(call(task_id="a"))
    assert "charge[a] waits or runs already" in caplog.text


def test_the_ledger_stamps_and_holds_what_is_not_due(beside: Celery) -> None:
    sends = Sends()
    assert beside.conf.broker_url
    ToLedger(beside, sends).send(call(countdown=60))
    producer = sends.options["producer"]
    assert isinstance(producer, Outgoing)
    assert producer.stamp == [beside.store.uuid, beside.store.location]
    assert sends.options["countdown"] is None
    assert sends.options[HELD] > beside.now()


def test_straight_is_stamped_and_has_an_id_of_its_own(beside: Celery) -> None:
    sends, headers = Sends(), {"mine": 1}
    Straight(beside, sends).send(call(headers=headers))
    assert sends.options["headers"] == {"mine": 1, LEDGER_HEADER: [beside.store.uuid, beside.store.location]}
    assert sends.options["task_id"]
    assert "producer" not in sends.options
    assert headers == {"mine": 1}


@pytest.mark.parametrize("url", [RABBITMQ, "redis://:secret@cache"])
def test_a_broker_that_does_not_confirm(url: str) -> None:
    app = Celery("shop", broker=url, set_as_current=False)
    with pytest.raises(PublishUnknown, match="timed out") as caught:
        ToBroker(app, Sends(OperationalError("timed out"))).send(call())
    assert "secret" not in str(caught.value)
    app.close()


def test_rabbitmq_delays_by_whole_seconds() -> None:
    app = Celery("shop", broker=RABBITMQ, set_as_current=False)
    assert app.conf.broker_url
    sends = Sends()
    ToBroker(app, sends).send(call(countdown=1.2))
    assert sends.options["countdown"] == 2
    app.close()


def test_a_batch_is_joined(embedded: Celery) -> None:
    sends, batch = Sends(), embedded.new_batch()
    with joining(batch):
        result = ToBatch(embedded, sends).send(call())
        assert (result.id, sends.calls, batch.empty) == (batch._messages[0].task_id, [], False)
        # Celery builds what is no plain message, for the same batch.
        assert ToBatch(embedded, sends).send(call(countdown=5)) == "the result"
    assert sends.options["producer"] is batch
    assert not batch.holders


def test_an_outbox_records_for_who_is_open(plain: Celery) -> None:
    sends = Sends()
    writer: Any = Keeps()
    with publishing_within(plain, writer):
        ToOutbox(plain, sends).send(call(keyed(plain)))
    assert isinstance(sends.options["producer"], Recorder)
    assert sends.options["producer"]._publisher is writer
    assert KEY_HEADER not in (sends.options.get("headers") or {})  # nobody there keeps keys


class Keeps:
    def publish(self, messages: list[TaskMessage]) -> list[Published]:
        return [Published(message.task_id) for message in messages]


class Fails:
    """A way to a broker that is away."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def send(self, call: Call) -> Any:
        self.calls.append(call)
        call.options["spoilt"] = True
        raise BrokerUnavailable("the broker", "away")


def test_what_is_spared_has_the_same_id_in_both_places(embedded: Celery, tmp_path: Path) -> None:
    embedded.conf.celeriac_local_outbox = f"sqlite:///{tmp_path}/spare.db"
    sends, away = Sends(), Fails()
    spared = Spared(embedded, sends, away)
    assert spared.send(call()) == "the result"
    assert sends.options["task_id"] == away.calls[0].options["task_id"]
    assert "spoilt" not in sends.options
    # A moment later the broker is not asked again.
    spared.send(call())
    assert (len(away.calls), len(sends.calls)) == (1, 2)


def test_what_has_a_key_is_found_by_that(embedded: Celery, tmp_path: Path) -> None:
    embedded.conf.celeriac_local_outbox = f"sqlite:///{tmp_path}/spare.db"
    sends, away = Sends(), Fails()
    Spared(embedded, sends, away).send(call(keyed(embedded)))
    assert "task_id" not in away.calls[0].options
    assert sends.options["headers"][KEY_HEADER]["key"] == "7"
