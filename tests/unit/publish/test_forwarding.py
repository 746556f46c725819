from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from amqp.exceptions import AccessRefused
from kombu import Connection
from kombu.exceptions import OperationalError

from celeriac import Celery
from celeriac.core.message import TaskMessage
from celeriac.publish.forwarding import Forwarder, declared

RABBITMQ = "amqp://shop:wrong@queue.internal"


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("shop", broker="memory://", set_as_current=False)
    yield app
    app.close()


def kept(queue: str, **properties: Any) -> TaskMessage:
    envelope = json.dumps([{"id": "a", "task": "charge"}, properties, "application/json", "utf-8"])
    return TaskMessage(queue, envelope, "[]")


def test_the_broker_has_it_with_its_properties(app: Celery) -> None:
    forwarder = Forwarder(app)
    forwarder.publish(kept("mails", priority=7, correlation_id="a", delivery_info={"exchange": "", "routing_key": ""}))
    with app.connection_for_read() as connection:
        message = connection.SimpleQueue("mails").get(timeout=5)
    assert (message.headers["task"], message.payload) == ("charge", [])
    assert (message.properties["priority"], message.properties["correlation_id"]) == (7, "a")
    assert message.properties["delivery_mode"] == 2
    assert forwarder.is_empty("mails")
    forwarder.close()
    # What was closed opens again.
    forwarder.publish(kept("mails"))
    assert not forwarder.is_empty("mails")
    forwarder.close()


def test_who_is_not_let_in_has_no_message_to_blame(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise AccessRefused("the password is another")

    monkeypatch.setattr(Connection, "ensure_connection", refused)
    with pytest.raises(OperationalError, match="the password is another"):
        Forwarder(app).publish(kept("mails"))


@pytest.mark.parametrize(
    ("url", "queue", "exchange", "key", "is_declared"),
    [
        ("memory://", "mails", "", "mails", True),
        ("memory://", "mails", "mails", "mails", True),
        # What an explicit exchange and routing key lead to is nobody's to make up.
        ("memory://", "eu.mail", "orders", "eu.mail", False),
        ("memory://", "", "orders", "", False),
        # On RabbitMQ the queues that are made up are bound to the default exchange, by one word.
        (RABBITMQ, "eu.mail", "celeriac", "eu/mail", True),
        (RABBITMQ, "eu.mail", "celeriac", "eu.mail", False),
    ],
)
def test_a_queue_is_made_up_where_the_message_would_reach_it(
    url: str, queue: str, exchange: str, key: str, is_declared: bool
) -> None:
    app = Celery("shop", broker=url, set_as_current=False)
    known = app.amqp.queues
    assert [made.name for made in declared(known, queue, exchange, key)] == [queue] * is_declared
    # A worker would begin to consume from it.
    assert set(known) == {"celery"}
    known.create_missing = False
    assert declared(known, queue, exchange, key) == []
    assert declared(known, "celery", exchange, key) == [known["celery"]]
    app.close()
