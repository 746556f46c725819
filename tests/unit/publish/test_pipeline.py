"""What a publish is told apart by, before its way is chosen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery
from celeriac.core.attempt import Attempt
from celeriac.core.current import attempting
from celeriac.core.message import KEY_HEADER, DeliveryFacts, Lease
from celeriac.core.transactions import publishing_within
from celeriac.publish.batch import joining
from celeriac.publish.ways.call import Call
from celeriac.publish.ways.choice import Configured, Publish


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("shop", broker="amqp://queue", ledger=f"sqlite:///{tmp_path}/ledger.db", set_as_current=False)
    yield app
    app.close()
    app.store.close()


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/shop.db", set_as_current=False)
    yield app
    app.close()
    app.store.close()


def facts(app: Celery, task: Any = None, **options: Any) -> Publish:
    return app._publishing._facts(Call("charge", task, (), {}, options))


def attempt(**fields: bool) -> Attempt:
    return Attempt("a", "shop.charge", DeliveryFacts(Lease(1, 1)), "worker", 0.0, **fields)  # type: ignore[arg-type]


def test_a_task_nobody_has_heard_of(beside: Celery) -> None:
    assert facts(beside) == facts(beside, headers={"mine": 1}, queue="mails") == Publish()
    with attempting(attempt()):  # inside a body
        assert facts(beside) == Publish()


def test_a_key_and_an_id_are_known(beside: Celery) -> None:
    @beside.task(name="charge", idempotency_key="{order}", shared=False)
    def charge(order: int) -> None: ...

    known = Publish(known=True)
    assert facts(beside, task_id="a") == facts(beside, headers={KEY_HEADER: {"key": "k"}}) == known
    assert facts(beside, beside.tasks["charge"]) == known


def test_what_waits_for_a_settlement(beside: Celery) -> None:
    for where in ({"buffering": True}, {"retrying": True}):
        with attempting(attempt(**where)):
            assert facts(beside) == Publish(settling=True)


def test_only_a_transaction_for_this_app_counts(beside: Celery) -> None:
    with publishing_within(beside.store, beside.store):
        assert facts(beside) == Publish(transaction=True)
    with publishing_within(object(), beside.store):
        assert facts(beside) == Publish()
    plain = Celery("plain", broker="amqp://queue", set_as_current=False)
    with publishing_within(plain, object()):
        assert facts(plain) == Publish(transaction=True)
        assert facts(beside) == Publish()
    plain.close()


def test_only_a_batch_of_this_apps_store_counts(embedded: Celery, beside: Celery) -> None:
    plain = Celery("plain", broker="amqp://queue", set_as_current=False)
    with joining(embedded.new_batch()):
        assert facts(embedded) == Publish(batched=True)
        assert facts(beside) == facts(plain) == Publish()
    plain.close()


def test_nothing_is_opened_to_tell(tmp_path: Path) -> None:
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/missing/shop.db", set_as_current=False)
    app.conf.celeriac_local_outbox = f"sqlite:///{tmp_path}/spare.db"
    assert facts(app) == Publish()
    with app.producer_or_acquire() as producer:  # as a group does
        assert facts(app, producer=producer) == Publish()
    assert app._publishing.configured == Configured(store=True, local_outbox=True)
    assert "store" not in app.__dict__


@pytest.mark.parametrize(
    ("broker", "defaults", "outbox", "by_the_ledger"),
    [
        ("redis://localhost", "safe", None, True),
        ("redis://localhost", "safe", False, False),
        ("redis://localhost", "celery", None, False),
        ("amqp://localhost", "safe", None, False),
        ("amqp://localhost", "safe", True, True),
    ],
)
def test_what_the_broker_may_lose_goes_by_the_ledger(
    tmp_path: Path, broker: str, defaults: str, outbox: bool | None, by_the_ledger: bool
) -> None:
    ledger = f"sqlite:///{tmp_path}/ledger.db"
    app = Celery("shop", broker=broker, ledger=ledger, defaults=defaults, celeriac_outbox=outbox, set_as_current=False)  # type: ignore[arg-type]
    assert app._publishing.configured == Configured(ledger=True, by_the_ledger=by_the_ledger)


def test_a_store_by_another_name_is_the_same(embedded: Celery, tmp_path: Path) -> None:
    for name, there in (
        (f"sqlite:///{tmp_path}/shop.db?synchronous=full", False),
        (f"sqlite:///{tmp_path}/b.db", True),
    ):
        with embedded.connection(name) as connection:
            producer = embedded.amqp.Producer(connection, auto_declare=False)
            assert facts(embedded, producer=producer) == Publish(elsewhere=there)
            connection.transport.store.close()


#: Whatever the client library is, to tell addresses needs no broker.
HOSTS = "amqp://shop:pw@one//;amqp://shop:pw@two//"


@pytest.mark.parametrize("url", ["redis://cache/3", "amqp://shop:pw@solo//", HOSTS, HOSTS.split(";")])
def test_a_producer_of_the_apps_own_leads_to_its_broker(url: Any) -> None:
    app = Celery("shop", broker=url, set_as_current=False)
    for connection in (app.connection_for_write(), app.pool.connection.clone()):
        assert facts(app, producer=app.amqp.Producer(connection, auto_declare=False)) == Publish()
    other = app.amqp.Producer(app.connection("amqp://shop:pw@third//"), auto_declare=False)
    assert facts(app, producer=other) == facts(app, connection=other.connection) == Publish(elsewhere=True)
    app.close()


def test_a_connection_that_has_gone_over_to_the_next_host_leads_to_the_same_broker() -> None:
    app = Celery("shop", broker=HOSTS, set_as_current=False)
    connection = app.connection_for_write()
    connection.switch(connection.alt[1])
    assert "@two" in connection.as_uri()
    assert facts(app, producer=app.amqp.Producer(connection, auto_declare=False)) == Publish()
    app.close()
