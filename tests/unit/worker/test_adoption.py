from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.worker import state
from kombu.message import Message

from celeriac import Celery
from celeriac.core.message import DELIVERY_HEADER, LEDGER_HEADER, Delivery, DeliveryFacts, TaskMessage
from celeriac.errors import StoreError, StoreUnavailable
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
    hub: object | None = "Celery's event loop"
    hostname = "worker@here"

    def __init__(self, app: Celery) -> None:
        self.app, self.later = app, list[Any]()
        self.timer = self.task_consumer = self.connection = self
        self.cancelled = False
        self.timers = list[Any]()
        self.reads: Callable[[], None] = self.nothing_to_read

    def call_soon(self, call: Any) -> None:
        self.later.append(call)

    def call_after(self, _seconds: float, call: Any, args: Any) -> None:
        self.timers.append(lambda: call(*args))

    def drain_events(self, timeout: float) -> None:
        assert timeout == 0
        self.reads()

    def nothing_to_read(self) -> None:
        raise TimeoutError

    def cancel(self) -> None:
        self.cancelled = True

    def turn(self) -> None:
        calls, self.later = self.later, []
        for call in calls:
            call()

    def turn_until_idle(self) -> None:
        while self.later:
            self.turn()

    def time_passes(self) -> None:
        calls, self.timers = self.timers, []
        for call in calls:
            call()
        self.turn_until_idle()


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


def ids(run: list[Message]) -> list[str]:
    return [each.headers["id"] for each in run]


def test_a_task_is_acknowledged_when_it_is_over_and_a_copy_at_once(app: Celery, broker: Broker, loop: Loop) -> None:
    adopter, run = Adopter(loop, isolates=True), list[Message]()
    adopter.receive(message(broker, "a"), run.append)
    loop.turn_until_idle()
    assert (ids(run), broker.told) == (["a"], [])
    copy = message(broker, "a")
    copy.delivery_tag = "copy"
    adopter.receive(copy, run.append)
    loop.turn_until_idle()
    assert broker.told == [("ack", "copy")]
    run[0].ack()
    assert (len(run), broker.told) == (1, [("ack", "copy"), ("ack", "a")])


def test_what_cannot_be_kept_holds_up_nobody(broker: Broker, loop: Loop) -> None:
    adopter, run = Adopter(loop, isolates=True), list[Message]()
    adopter.receive(message(broker, "bad", properties={"priority": "high"}), run.append)
    adopter.receive(message(broker, "good"), run.append)
    loop.turn_until_idle()
    assert broker.told == [("reject", "bad")]
    assert ids(run) == ["good"]


def test_one_that_the_ledger_cannot_write_holds_up_none_of_those_it_came_with(
    app: Celery, broker: Broker, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopter, run, adopt = Adopter(loop, isolates=True), list[Message](), app.store.adopt

    def refusing(messages: Any, **options: Any) -> Any:
        if any(each.task_id == "c" for each in messages):
            raise StoreError("/srv/ledger.db", "a character that it does not know")
        return adopt(messages, **options)

    monkeypatch.setattr(app.store, "adopt", refusing)
    for tag in "abcd":
        adopter.receive(message(broker, tag), run.append)
    loop.turn_until_idle()
    assert (ids(run), broker.told) == (["a", "b", "d"], [("reject", "c")])


@pytest.mark.parametrize("hub", ["Celery's event loop", None])
def test_what_the_broker_has_sent_is_adopted_in_one_transaction(
    app: Celery, broker: Broker, loop: Loop, monkeypatch: pytest.MonkeyPatch, hub: object | None
) -> None:
    adopter, run, adopt = Adopter(loop, isolates=True), list[Message](), app.store.adopt
    asked: list[int] = []

    def counting(messages: Any, **options: Any) -> Any:
        asked.append(len(messages))
        return adopt(messages, **options)

    monkeypatch.setattr(app.store, "adopt", counting)
    arriving = [message(broker, f"{number:03}") for number in range(250)]
    expected = [each.delivery_tag for each in arriving]
    loop.hub = hub
    loop.reads = lambda: adopter.receive(arriving.pop(0), run.append) if arriving else loop.nothing_to_read()
    adopter.receive(arriving.pop(0), run.append)
    while loop.later:
        if hub and arriving:
            loop.reads()  # the event loop reads one message a turn
        loop.turn()
        if not (loop.later or not arriving):
            adopter.receive(arriving.pop(0), run.append)
    assert asked == [100, 100, 50]
    assert ids(run) == expected
    assert [DeliveryFacts.from_header(each.headers[DELIVERY_HEADER]).batch for each in run[:2]] == [100, 100]


def test_a_copy_that_came_with_the_first_is_one(broker: Broker, loop: Loop) -> None:
    adopter, run = Adopter(loop, isolates=True), list[Message]()
    for tag in ("a", "b", "a"):
        adopter.receive(message(broker, tag), run.append)
    loop.turn_until_idle()
    assert (ids(run), broker.told) == (["a", "b"], [("ack", "a")])


def test_a_last_chance_is_shared_neither_with_those_it_came_with_nor_with_those_that_come(
    app: Celery, broker: Broker, loop: Loop
) -> None:
    envelope = '[{"id": "b", "task": "shop.charge"}, {}, "application/json", "utf-8"]'
    suspect = TaskMessage("celery", envelope, "[[], {}, {}]", "b", "shop.charge")
    for _ in range(app.own_settings.max_crashes - 1):
        [held] = app.store.adopt([suspect], owner="w", lease=60)
        assert isinstance(held, Delivery)
        app.store.release([held.lease], crashed=True)
    adopter, run = Adopter(loop, isolates=False), list[Message]()
    for tag in "abc":
        adopter.receive(message(broker, tag), run.append)
    loop.turn_until_idle()
    assert ids(run) == ["a", "c"]
    adopter.receive(message(broker, "d"), run.append)
    run[0].ack()
    loop.turn_until_idle()
    assert ids(run) == ["a", "c"]  # it waits for the last of them, and nothing goes before it any more
    run[1].ack()
    loop.turn_until_idle()
    assert ids(run) == ["a", "c", "b"]
    adopter.receive(message(broker, "e"), run.append)
    loop.turn_until_idle()
    assert ids(run) == ["a", "c", "b"]
    run[2].ack()
    loop.turn_until_idle()
    assert ids(run) == ["a", "c", "b", "d", "e"]


def test_an_error_in_handing_one_on_keeps_none_of_the_others(broker: Broker, loop: Loop) -> None:
    adopter, run = Adopter(loop, isolates=True), list[Message]()

    def failing(each: Message) -> None:
        run.append(each)
        if each.headers["id"] == "a":
            raise ConnectionResetError("in the middle")

    for tag in "abc":
        adopter.receive(message(broker, tag), failing)
    with pytest.raises(ConnectionResetError):
        loop.turn_until_idle()
    assert ids(run) == ["a", "b", "c"]


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
        loop.turn_until_idle()
        loop.time_passes()  # it is still away
        assert (run, broker.told) == ([], [])
        adopter.receive(message(broker, "c"), run.append)
    loop.time_passes()
    assert ids(run) == ["a", "b", "c"]


def test_a_lost_connection_gives_back_what_has_not_begun(app: Celery, broker: Broker, loop: Loop) -> None:
    adopter, run = Adopter(loop, isolates=True), list[Message]()
    adopter.receive(message(broker, "a"), run.append)
    loop.turn_until_idle()
    adopter.receive(message(broker, "b"), run.append)
    adopter.restore()
    loop.turn_until_idle()
    assert ids(run) == ["a"]
    [size] = app.store.sizes()
    assert (size.ready, size.claimed) == (1, 0)
    run[0].ack()  # of the connection that is gone
    assert broker.told == []


@pytest.mark.parametrize("hub", ["Celery's event loop", None])
def test_a_worker_that_ends_adopts_nothing_more(app: Celery, broker: Broker, loop: Loop, hub: object) -> None:
    """Celery does what was to be done soon when the pool has ended: it would be begun, and left in the middle."""
    loop.hub = hub
    run: list[Message] = []
    adopter = Adopter(loop, isolates=True)
    adopter.receive(message(broker, "a"), run.append)
    adopter.end()
    adopter.receive(message(broker, "b"), run.append)
    loop.turn_until_idle()
    assert (run, broker.told) == ([], []), "with its connection the broker has them back"
    assert app.store.size("celery") == 0


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
