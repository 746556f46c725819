from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from celeriac import Celery
from celeriac.core.attempt import DeadLetterFilter
from celeriac.core.message import Delivery
from celeriac.worker.relay import Outbox
from tests.support import wait_for


class Given:
    """A broker that refuses what it is told to refuse."""

    def __init__(self) -> None:
        self.ids: list[str | None] = []
        self.refuses: dict[str, list[BaseException]] = {}
        self.empty = True
        self.closed = 0

    def publish(self, delivery: Delivery) -> None:
        if errors := self.refuses.get(str(delivery.task_id)):
            raise errors.pop(0)
        self.ids.append(delivery.task_id)

    def is_empty(self, _queue: str) -> bool:
        return self.empty

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    url = f"sqlite:///{tmp_path}/ledger.db"
    app = Celery("shop", broker="redis://localhost:1/0", ledger=url, set_as_current=False)
    yield app
    app.store.close()


@pytest.fixture
def broker() -> Given:
    return Given()


@pytest.fixture
def outbox(app: Celery, broker: Given) -> Outbox:
    made = Outbox(app, threading.Event())
    made._broker = broker  # type: ignore[assignment]
    return made


def send(app: Celery, *task_ids: str) -> None:
    for task_id in task_ids:
        app.send_task("charge", task_id=task_id)


def test_what_a_dead_relay_had_in_hand_is_anothers_after_a_lease(app: Celery, broker: Given) -> None:
    app.conf.update(celeriac_lease_seconds=1.0, celeriac_renew_seconds=0.2)
    dying, heir = (Outbox(app, threading.Event()) for _ in range(2))
    dying._broker = heir._broker = broker  # type: ignore[assignment]
    send(app, "a")
    broker.refuses["a"] = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        dying.relay(app.store)
    wait_for(lambda: heir.relay(app.store), 10)
    assert broker.ids == ["a"]


def test_each_goes_once_and_in_order(app: Celery, outbox: Outbox, broker: Given) -> None:
    send(app, "a", "b", "c")
    assert outbox.relay(app.store)
    assert not outbox.relay(app.store)
    assert broker.ids == ["a", "b", "c"]


def test_a_broker_that_is_away_is_waited_for(app: Celery, outbox: Outbox, broker: Given) -> None:
    send(app, "a", "b")
    broker.refuses["a"] = [OperationalError("away"), OperationalError("away")]
    outbox.relay(app.store)
    assert (broker.ids, broker.closed) == (["a", "b"], 2)


def test_a_worker_that_ends_meanwhile_waits_no_longer(app: Celery, outbox: Outbox, broker: Given) -> None:
    send(app, "a", "b")
    broker.refuses["a"] = [OperationalError("away")] * 9
    outbox._stop.set()
    outbox.relay(app.store)
    assert broker.ids == []
    assert app.store.relay_again("celery", 0, 1e9) == 2


def test_what_the_broker_never_takes_is_a_dead_letter(app: Celery, outbox: Outbox, broker: Given) -> None:
    send(app, "a", "b")
    broker.refuses["a"] = [ValueError("larger than the broker allows")]
    outbox.relay(app.store)
    assert broker.ids == ["b"]
    [letter] = app.store.dead_letters(DeadLetterFilter())
    assert (letter.task_id, letter.reason, letter.error) == ("a", "unsendable", "larger than the broker allows")
    assert app.AsyncResult("a").state == "FAILURE"


def test_a_queue_that_is_empty_has_lost_what_is_missing(app: Celery, outbox: Outbox, broker: Given) -> None:
    send(app, "a")
    outbox.relay(app.store)
    outbox._every = 0.0  # at once
    broker.empty = False
    outbox._look_for_lost(app.store)
    assert not outbox.relay(app.store)
    broker.empty = True

    def looked() -> bool:
        outbox._look_for_lost(app.store)
        outbox.relay(app.store)
        return len(broker.ids) > 1

    # Not sooner than it took the first time.
    wait_for(looked, 20, "it is not sent again")
    assert broker.ids == ["a", "a"]
