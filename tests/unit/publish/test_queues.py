"""Declared queues: what is refused, and what outlives kombu's handling of them."""

from __future__ import annotations

import json
from copy import copy
from pathlib import Path
from typing import Any

import kombu
import pytest

from celeriac import Celery, Concurrency, Queue, Rate
from celeriac.core.routing import Share
from celeriac.errors import QueueOptionError
from celeriac.publish.queues import OWN
from celeriac.transport.rabbitmq.queues import TaskQueue

FULL: dict[str, Any] = {
    "concurrency": 3,
    "limits": [Rate("100/m"), Concurrency(1, key="{task}")],
    "weight": 2,
    "prefetch": 4,
    "time_limit": 60,
    "soft_time_limit": 50.5,
    "priority": 7,
}


def declared(queue: Any) -> dict[str, Any]:
    return {option: getattr(queue, option) for option in OWN}


def test_it_is_a_kombu_queue_that_survives_what_kombu_does_with_queues(tmp_path: Path) -> None:
    queue = Queue("mail", **FULL)
    assert isinstance(queue, kombu.Queue)
    with kombu.Connection(f"sqlite:///{tmp_path}/s.db") as connection:
        bound = queue(connection.default_channel)
        bound.declare()
        for one in (queue, bound, copy(queue), Queue(**queue.as_dict())):
            assert declared(one) == {**FULL, "order": None}
            assert (one.name, one.routing_key) == ("mail", "mail")
            assert one.declared_limits is not None
            assert len(one.declared_limits.rules) == 3
    assert queue.as_dict(recurse=True)["concurrency"] == 3
    assert json.loads(json.dumps(queue.as_dict(recurse=True)))["limits"][0].startswith("Rate(rate='100/m'")


def test_one_that_declares_nothing_costs_nothing() -> None:
    plain = Queue("mail")
    assert plain.share is None
    assert plain.declared_limits is None
    assert Queue("mail", weight=3).share == Share(3)
    assert Queue("mail", order="strict", prefetch=2).share == Share(1, strict=True, most=2)


@pytest.mark.parametrize(
    ("options", "option", "says"),
    [
        ({"concurrency": 0}, "concurrency", "pause it"),
        ({"concurrency": True}, "concurrency", "whole number from 1"),
        ({"concurrency": 2.0}, "concurrency", "whole number from 1"),
        ({"weight": 0}, "weight", 'order="strict"'),
        ({"weight": -1}, "weight", "whole number from 1"),
        ({"order": "loose"}, "order", "'loose' is not \"strict\""),
        ({"order": "strict", "weight": 2}, "weight", "leave out weight=2"),
        ({"prefetch": 0}, "prefetch", "whole number from 1"),
        ({"time_limit": 0}, "time_limit", "over 0"),
        ({"time_limit": float("inf")}, "time_limit", "over 0"),
        ({"soft_time_limit": "60"}, "soft_time_limit", "'60' is not a number of seconds"),
        ({"time_limit": 10, "soft_time_limit": 11}, "soft_time_limit", "11 comes after time_limit, 10"),
        ({"priority": 10}, "priority", "from 0 to 9"),
        ({"priority": -1}, "priority", "from 0 to 9"),
        ({"limits": "2"}, "limits", "no list of Concurrency"),
        ({"concurrency": 2, "limits": Concurrency(3)}, "limits", "two limits have the name"),
        ({"concurency": 2}, "concurency", "did you mean concurrency?"),
        ({"colour": "red"}, "colour", "there is no such option"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], option: str, says: str) -> None:
    with pytest.raises(QueueOptionError, match=f"^queue mail, option {option}: ") as raised:
        Queue("mail", **options)
    assert says in str(raised.value)


@pytest.mark.parametrize("name", ["", " ", None, 7])
def test_a_queue_has_a_name(name: Any) -> None:
    with pytest.raises(QueueOptionError, match="option name"):
        Queue(name)


def test_an_option_in_a_mapping_would_be_ignored_and_is_refused() -> None:
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.task_queues = {"mail": {"exchange": "mail", "concurrency": 2}}
    with pytest.raises(QueueOptionError, match=r"Queue\('mail', concurrency=…\)"):
        _ = app.amqp.queues


def test_celerys_own_queues_stay_as_they_are() -> None:
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.task_queues = [kombu.Queue("a", routing_key="a.#"), Queue("b", priority=3, alias="bee")]
    queues = app.amqp.queues
    assert queues.own.keys() == {"b"}
    assert not queues.limited
    assert not queues.shares
    assert queues["bee"] is queues["b"]
    assert queues.time_limits("a") == queues.time_limits("zzz") == (None, None)


# -- on RabbitMQ


def on_rabbitmq(queues: list[Any], **options: Any) -> Celery:
    app = Celery("shop", broker="amqp://host", set_as_current=False, **options)
    app.conf.task_queues = queues
    return app


def test_on_rabbitmq_a_queue_whose_kind_is_left_open_is_of_celeriacs() -> None:
    app = on_rabbitmq([Queue("mail", **FULL), Queue("eu.mail", alias="eu")])
    mail, eu = app.amqp.queues["mail"], app.amqp.queues["eu"]
    assert isinstance(mail, TaskQueue)
    assert isinstance(mail, Queue)
    assert mail.queue_arguments["x-queue-type"] == "quorum"
    assert (mail.exchange.name, mail.exchange.type) == ("celeriac", "topic")
    assert (eu.name, eu.routing_key) == ("eu.mail", "eu/mail")
    assert declared(mail) == {**FULL, "order": None}
    assert app.conf.task_acks_late is True, "quorum queues count deliveries"


@pytest.mark.parametrize(
    "queues",
    [
        [kombu.Queue("mail")],
        [Queue("mail"), kombu.Queue("other")],
        [Queue("mail", exchange="mine")],
        [Queue("mail", queue_arguments={"x-max-length": 3})],
        [Queue("mail", max_priority=3)],
        [Queue("mail", durable=False)],
    ],
)
def test_on_rabbitmq_queues_of_which_the_user_says_the_kind_stay_his(queues: list[Any]) -> None:
    app = on_rabbitmq(queues)
    assert not isinstance(app.amqp.queues["mail"], TaskQueue)
    assert app.conf.task_acks_late is False


def test_under_celerys_defaults_they_stay_as_celery_has_them() -> None:
    app = on_rabbitmq([Queue("mail")], defaults="celery")
    assert not isinstance(app.amqp.queues["mail"], TaskQueue)
