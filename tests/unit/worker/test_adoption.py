from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.worker import state
from kombu.message import Message

from celeriac import Celery
from celeriac.core.message import LEDGER_HEADER
from celeriac.errors import StoreUnavailable
from celeriac.transport.consumer import QUEUE
from celeriac.worker.adoption import EX_CONFIG, Adopter


class Broker:
    """A channel that notes what it is told of its messages."""

    no_ack_consumers = None

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def basic_ack(self, tag: Any, multiple: bool = False) -> None:
        self.told.append(("ack", tag))

    def basic_reject(self, tag: Any, requeue: bool = False) -> None:
        self.told.append(("requeue" if requeue else "reject", tag))


class Loop:
    """Celery's consumer as the adopter sees it; nothing runs by itself."""

    connection_errors = (OSError,)
    hostname = "worker@here"

    def __init__(self, app: Celery) -> None:
        self.app, self.later = app, list[Any]()
        self.timer = self.task_consumer = self
        self.cancelled = False

    def call_soon(self, call: Any) -> None:
        self.later.append(call)

    def call_after(self, _seconds: float, call: Any, args: Any) -> None:
        self.later.append(lambda: call(*args))

    def cancel(self) -> None:
        self.cancelled = True

    def turn(self) -> None:
        calls, self.later = self.later, []
        for call in calls:
            call()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    url = f"sqlite:///{tmp_path}/ledger.db"
    app = Celery("shop", broker="redis://localhost:1/0", ledger=url, set_as_current=False)
    yield app
    app.keeper.stop()
    app.store.close()


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def loop(app: Celery) -> Loop:
    return Loop(app)


def message(broker: Broker, tag: str, **fields: Any) -> Message:
    headers = {"id": tag, "task": "shop.charge", **fields.pop("headers", {})}
    return Message(
        body=b"[[], {}, {}]",
        delivery_tag=tag,
        headers=headers,
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={QUEUE: "celery"},
        channel=broker,
        **fields,
    )


def test_a_task_is_acknowledged_when_it_is_over_and_a_copy_at_once(app: Celery, broker: Broker, loop: Loop) -> None:
    adopter, run = Adopter(loop, isolates=True), list[Message]()
    adopter.receive(message(broker, "a"), run.append)
    assert ([each.headers["id"] for each in run], broker.told) == (["a"], [])
    copy = message(broker, "a")
    copy.delivery_tag = "copy"
    adopter.receive(copy, run.append)
    assert broker.told == [("ack", "copy")]
    run[0].ack()
    assert (len(run), broker.told) == (1, [("ack", "copy"), ("ack", "a")])


def test_what_cannot_be_kept_holds_up_nobody(broker: Broker, loop: Loop) -> None:
    adopter, run = Adopter(loop, isolates=True), list[Message]()
    adopter.receive(message(broker, "bad", properties={"priority": "high"}), run.append)
    adopter.receive(message(broker, "good"), run.append)
    assert broker.told == [("reject", "bad")]
    assert [each.headers["id"] for each in run] == ["good"]


def test_while_the_ledger_is_away_messages_wait_in_order(
    broker: Broker, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopter, run = Adopter(loop, isolates=True), list[Message]()
    with monkeypatch.context() as away:

        def adopt(*_: Any, **__: Any) -> Any:
            raise StoreUnavailable("/srv/ledger.db", "locked")

        away.setattr(adopter, "store", type("Away", (), {"adopt": adopt, "uuid": adopter.store.uuid})())
        for tag in ("a", "b"):
            adopter.receive(message(broker, tag), run.append)
        loop.turn()  # the timer
        loop.turn()  # still away
        assert (run, broker.told) == ([], [])
    while loop.later and not run:
        loop.turn()
    assert [each.headers["id"] for each in run] == ["a", "b"]


def test_a_lost_connection_gives_back_what_has_not_begun(app: Celery, broker: Broker, loop: Loop) -> None:
    adopter, run = Adopter(loop, isolates=True), list[Message]()
    adopter.receive(message(broker, "a"), run.append)
    adopter.restore()
    [size] = app.store.sizes()
    assert (size.ready, size.claimed) == (1, 0)
    run[0].ack()  # of the connection that is gone
    assert broker.told == []


def test_somebody_elses_task_goes_back_and_the_worker_ends(
    broker: Broker, loop: Loop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(state, "should_stop", None)
    adopter, run = Adopter(loop, isolates=True), list[Message]()
    for tag in ("a", "b"):
        adopter.receive(message(broker, tag, headers={LEDGER_HEADER: ["another", "/srv/b.db"]}), run.append)
    assert (run, broker.told) == ([], [("requeue", "a"), ("requeue", "b")])
    assert (state.should_stop, loop.cancelled) == (EX_CONFIG, True)
    [said] = [record.getMessage() for record in caplog.records if record.levelname == "CRITICAL"]
    assert "/srv/b.db (another)" in said
    assert adopter.store.location in said


def test_what_is_no_task_of_a_queue_is_left_to_celery(broker: Broker, loop: Loop) -> None:
    adopter, run = Adopter(loop, isolates=True), list[Message]()
    broadcast = message(broker, "a")
    del broadcast.delivery_info[QUEUE]
    first_protocol = message(broker, "b")
    del first_protocol.headers["task"]
    for each in (broadcast, first_protocol):
        adopter.receive(each, run.append)
    assert run == [broadcast, first_protocol]
    assert adopter.store.sizes() == []
