from __future__ import annotations

import time
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from celeriac import BrokerUnavailable, Celery
from celeriac.core.attempt import Attempt
from celeriac.core.current import attempting
from celeriac.core.message import KEY_HEADER, LEDGER_HEADER, DeliveryFacts, Lease
from celeriac.core.transactions import publishing_within
from celeriac.publish.beside import PublishUnknown, confirmed_by, given_up_after, goes_straight, stamped
from celeriac.store.sqlite import SQLiteStore


@pytest.fixture
def store(tmp_path: Path) -> SQLiteStore:
    return SQLiteStore(tmp_path / "ledger.db")


def attempt(**fields: bool) -> Attempt:
    return Attempt("a", "shop.charge", DeliveryFacts(Lease(1, 1)), "worker", 0.0, **fields)  # type: ignore[arg-type]


def test_a_task_nobody_has_heard_of_goes_straight(store: SQLiteStore) -> None:
    assert goes_straight(store, {})
    assert goes_straight(store, {"headers": {"mine": 1}, "queue": "mails"})
    with attempting(attempt()):  # inside a body
        assert goes_straight(store, {})


@pytest.mark.parametrize("options", [{"task_id": "a"}, {"headers": {KEY_HEADER: {"key": "k"}}}])
def test_a_key_and_a_known_id_go_by_the_ledger(store: SQLiteStore, options: dict[str, object]) -> None:
    assert not goes_straight(store, options)


def test_what_waits_for_a_settle_or_a_commit_goes_by_the_ledger(store: SQLiteStore) -> None:
    with attempting(attempt(buffering=True)):
        assert not goes_straight(store, {})
    with attempting(attempt(retrying=True)):
        assert not goes_straight(store, {})
    with publishing_within(store, store):
        assert not goes_straight(store, {})
    with publishing_within(object(), store):
        assert goes_straight(store, {})


def test_the_stamp_joins_the_headers(store: SQLiteStore) -> None:
    given = {"headers": {"mine": 1}}
    assert stamped(store, given)["headers"] == {"mine": 1, LEDGER_HEADER: [store.uuid, store.location]}
    assert given == {"headers": {"mine": 1}}


def test_an_unconfirmed_publish_says_what_is_known() -> None:
    with pytest.raises(PublishUnknown) as caught, confirmed_by("redis://:secret@cache/0"):
        raise OperationalError("timed out")
    said = str(caught.value)
    assert isinstance(caught.value, BrokerUnavailable)
    assert "secret" not in said
    assert "timed out" in said
    assert "idempotency_key" in said


def test_retrying_ends() -> None:
    told: list[Exception] = []
    options = given_up_after({"retry_policy": {"errback": lambda error, _: told.append(error), "max_retries": 9}}, 0.02)
    policy = options["retry_policy"]
    error = ConnectionError("gone")
    policy["errback"](error, 0)
    time.sleep(0.02)
    with pytest.raises(ConnectionError):
        policy["errback"](error, 0)
    assert (policy["max_retries"], told) == (9, [error, error])


@pytest.mark.parametrize(
    ("broker", "defaults", "outbox", "straight"),
    [
        ("redis://localhost", "safe", None, False),
        ("redis://localhost", "safe", False, True),
        ("redis://localhost", "celery", None, True),
        ("amqp://localhost", "safe", None, True),
        ("amqp://localhost", "safe", True, False),
    ],
)
def test_what_the_broker_may_lose_goes_by_the_ledger(
    tmp_path: Path, broker: str, defaults: str, outbox: bool | None, straight: bool
) -> None:
    ledger = f"sqlite:///{tmp_path}/ledger.db"
    app = Celery("shop", broker=broker, ledger=ledger, defaults=defaults, celeriac_outbox=outbox, set_as_current=False)  # type: ignore[arg-type]
    assert app._by_the_ledger is not straight
