"""What a message takes along of the queue it goes to: limits and a priority."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Exchange

from celeriac import Celery, Concurrency, Queue, Rate
from celeriac.core.limits import Rule, unpack
from celeriac.core.message import LIMITS_HEADER, Delivery
from celeriac.errors import ArgumentError, OptionError, QueueOptionError
from celeriac.publish.limits import declared_rules
from tests.support import wait_for

QUEUES = [
    Queue("default"),
    Queue("few", concurrency=2),
    Queue("pay", limits=[Concurrency(1, key="customer:{customer_id}"), Rate("60/m", key="{task}")]),
    Queue("mail", priority=6),
    Queue("topics", Exchange("topics", "topic"), "a.#", concurrency=5),
]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/shop.db", set_as_current=False)
    app.conf.task_queues = QUEUES
    app.conf.task_default_queue = "default"

    @app.task(name="stalls.charge", shared=False)
    def charge(customer_id: int, cents: int = 0) -> None: ...

    @app.task(name="stalls.own", shared=False, limits=[Concurrency(3, key="{customer_id}")])
    def own(customer_id: int) -> None: ...

    @app.task(name="stalls.shared", shared=False, limits=[Concurrency(2, name="queue few concurrency")])
    def shared() -> None: ...

    yield app
    app.close()
    app.store.close()


def sent_to(app: Celery, queue: str) -> Delivery:
    """The one message in a queue."""
    [found] = app.store.claim([queue], 10, owner="test", lease=30.0)
    return found


def limits_of(delivery: Delivery) -> list[tuple[str, str]]:
    text = json.loads(delivery.envelope)[0].get(LIMITS_HEADER)
    return [(bound.name, bound.value) for bound in unpack(text)] if text else []


def test_a_queues_limits_are_its_messages(app: Celery) -> None:
    app.tasks["stalls.charge"].apply_async((7,), queue="few")
    found = sent_to(app, "few")
    assert limits_of(found) == [("queue few concurrency", "")]
    assert found.limited
    assert app.store.taken() == {"queue few concurrency\x1f": 1}


def test_they_join_those_of_the_task(app: Celery) -> None:
    app.tasks["stalls.own"].apply_async((7,), queue="pay")
    assert limits_of(sent_to(app, "pay")) == [
        ("queue pay concurrency customer:{customer_id}", "customer:7"),
        ("queue pay rate {task}", "stalls.own"),
        ("stalls.own concurrency {customer_id}", "7"),
    ]


def test_one_that_both_have_is_held_once(app: Celery) -> None:
    app.tasks["stalls.shared"].apply_async(queue="few")
    assert limits_of(sent_to(app, "few")) == [("queue few concurrency", "")]


def test_another_queues_messages_have_none(app: Celery) -> None:
    app.tasks["stalls.charge"].delay(7)
    found = sent_to(app, "default")
    assert not limits_of(found)
    assert not found.limited


def test_a_route_leads_to_them_too_and_so_does_what_is_due_later(app: Celery) -> None:
    app.conf.task_routes = {"stalls.charge": "few"}
    app.tasks["stalls.charge"].delay(7)
    app.tasks["stalls.charge"].signature((8,)).apply_async(countdown=0.001)
    found: list[Delivery] = []

    def all_claimed() -> bool:
        found.extend(app.store.claim(["few"], 10, owner="test", lease=30.0))
        return len(found) == 2

    wait_for(all_claimed)
    assert [limits_of(one) for one in found] == [[("queue few concurrency", "")]] * 2


def test_many_at_once_have_them_as_well(app: Celery) -> None:
    charge = app.tasks["stalls.charge"]
    app.send_tasks([charge.s(number).set(queue="pay") for number in range(3)])
    app.send_tasks([charge.s(number).set(queue="few") for number in range(3)])
    assert len(app.store.claim(["few"], 10, owner="test", lease=30.0)) == 2
    lanes = {lane.limits for lane in app.store.lanes(10) if lane.queue == "pay"}
    assert [unpack(text)[0].value for text in sorted(lanes)] == ["customer:0", "customer:1", "customer:2"]


def test_what_is_not_known_here_is_left_to_a_worker_that_knows_it(app: Celery) -> None:
    app.send_task("somebody.elses", (7,), queue="few")
    assert not sent_to(app, "few").limited


def test_what_an_exchange_gives_to_a_queue_is_left_to_the_worker_whole(app: Celery) -> None:
    app.tasks["stalls.own"].apply_async((7,), queue="topics", routing_key="a.b")
    found = sent_to(app, "topics")
    assert not found.limited, "not with the task's alone, or nobody would add the queue's"


def test_a_call_of_which_no_key_can_be_made_is_not_sent(app: Celery) -> None:
    with pytest.raises(ArgumentError, match="argument customer_id"):
        app.tasks["stalls.charge"].apply_async((None,), queue="pay")
    with pytest.raises(QueueOptionError, match=r"for task stalls.shared"):
        app.tasks["stalls.shared"].apply_async(queue="pay")
    assert not app.store.sizes()


@pytest.mark.parametrize(("options", "priority"), [({}, 6), ({"priority": 0}, 0), ({"priority": 9}, 9)])
def test_a_queues_priority_is_for_what_is_given_none(app: Celery, options: dict[str, Any], priority: int) -> None:
    charge = app.tasks["stalls.charge"]
    charge.apply_async((7,), queue="mail", **options)
    assert sent_to(app, "mail").priority == priority
    app.send_tasks([charge.s(7).set(queue="mail", **options)])
    assert sent_to(app, "mail").priority == priority


def test_the_priority_of_a_task_outranks_its_queues(app: Celery) -> None:
    app.tasks["stalls.charge"].priority = 2
    app.tasks["stalls.charge"].apply_async((7,), queue="mail")
    assert sent_to(app, "mail").priority == 2


def test_a_worker_knows_the_numbers_of_all_queues(app: Celery) -> None:
    rules = declared_rules(app)
    assert rules["queue few concurrency"] == Rule(slots=2)
    assert rules["queue pay rate {task}"] == Rule(every=1.0, burst=1)
    assert rules["stalls.own concurrency {customer_id}"] == Rule(slots=3)


def test_one_name_stands_for_one_thing(app: Celery) -> None:
    app.amqp.queues.add(Queue("more", limits=[Concurrency(9, name="queue few concurrency")]))
    with pytest.raises(QueueOptionError, match=r"^queue more, option limits: the name 'queue few concurrency'"):
        declared_rules(app)
    del app.amqp.queues.limited["more"]

    @app.task(name="stalls.other", shared=False, limits=[Concurrency(8, name="stalls.own concurrency {customer_id}")])
    def other() -> None: ...

    _ = other.name
    with pytest.raises(OptionError, match=r"^task stalls.own, option limits: the name"):
        declared_rules(app)


def test_a_retry_that_names_an_exchange_and_a_key_is_still_of_its_queue(tmp_path: Path) -> None:
    """What another broker delivered by its exchange is published again to that."""
    app = Celery("shop", broker="amqp://none", ledger=f"sqlite:///{tmp_path}/ledger.db", set_as_current=False)
    app.conf.task_queues = [Queue("default"), Queue("eu.few", concurrency=2)]
    app.conf.task_default_queue = "default"

    @app.task(name="stalls.once", shared=False)
    def once() -> None: ...

    once.apply_async(exchange="celeriac", routing_key="eu/few")
    once.apply_async(queue="eu.few")
    once.apply_async(exchange="celeriac", routing_key="default")
    [few] = app.store.lanes(10)
    assert (few.queue, few.waiting) == ("eu.few", 2)
    assert {size.queue: size.ready for size in app.store.sizes()}["default"] == 1
    app.close()
    app.store.close()


@pytest.mark.parametrize(("task", "own"), [("charge", []), ("own", [("stalls.own concurrency {customer_id}", "7")])])
@pytest.mark.parametrize(("to", "its"), [("default", []), ("pay", ["customer:7", "stalls.{task}"])])
def test_a_retry_in_another_queue_leaves_the_limits_of_the_first(
    app: Celery, task: str, own: list[tuple[str, str]], to: str, its: list[str]
) -> None:
    again = app.tasks[f"stalls.{task}"]
    again.apply_async((7,), queue="few")
    headers, _, *_ = json.loads(sent_to(app, "few").envelope)
    again.push_request(**headers, args=[7], kwargs={}, called_directly=False, delivery_info={"routing_key": "few"})
    again.signature_from_request(again.request, queue=to, task_id="another").apply_async()
    again.pop_request()
    values = [value.format(task=task) for value in its]
    assert [value for _, value in limits_of(sent_to(app, to))] == [*values, *[value for _, value in own]]


def test_no_argument_and_no_header_stops_the_claims_from_a_queue(app: Celery) -> None:
    app.tasks["stalls.charge"].apply_async(("\x00",), queue="pay")
    app.tasks["stalls.charge"].apply_async((7,), headers={LIMITS_HEADER: "no limits"})
    found = app.store.claim(["pay", "default"], 10, owner="test", lease=30.0)
    assert [delivery.limited for delivery in found] == [True, False]
    assert app.store.taken() == {"queue pay concurrency customer:{customer_id}\x1fcustomer:\\x00": 1}
