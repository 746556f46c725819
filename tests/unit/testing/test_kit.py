"""The kit: real semantics in the test's own thread, and by its clock."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pydantic
import pytest
from celery import chain, chord, group
from celery.exceptions import Ignore, Reject, TaskRevokedError

from celeriac import Celery, Circuit, CircuitOpen, Concurrency, Rate, Retries, Snooze
from celeriac.errors import IdempotencyConflict
from celeriac.publish.arguments import UnsendableArgument
from celeriac.store.tables import ddl
from celeriac.testing import Kit, KitError, NothingRuns, NotQuiet, TaskFailed

SEEN: list[Any] = []
#: No server listens there.
BROKER = "redis+streams://127.0.0.1:1/0"

app = Celery("shop", broker=BROKER)


class Order(pydantic.BaseModel):
    number: int


@app.task(shared=False)
def note(what: Any) -> Any:
    SEEN.append(what)
    return what


@app.task(shared=False)
def add(left: int, right: int) -> int:
    return left + right


@app.task(shared=False)
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(shared=False, idempotency_key="charge:{order_id}", idempotency_ttl=3600)
def charge(order_id: int, amount: int = 100) -> str:
    SEEN.append(order_id)
    return f"charged {order_id}"


@app.task(shared=False, retries=Retries(3, [1, 10, 100]))
def ship(order_id: int, failures: int = 99) -> str:
    SEEN.append(order_id)
    if len(SEEN) <= failures:
        raise ConnectionError("the carrier is away")
    return "shipped"


@app.task(shared=False, bind=True, max_retries=2, default_retry_delay=60)
def by_hand(self: Any) -> None:
    raise self.retry()


@app.task(shared=False)
def fail(what: str = "no") -> None:
    raise ValueError(what)


@pytest.fixture
def kit() -> Iterator[Kit]:
    SEEN.clear()
    with Kit(app) as found:
        yield found


def outcomes(kit: Kit) -> list[str]:
    return [run.outcome for run in kit.runs]


# -- running


def test_nothing_runs_before_the_test_says_so(kit: Kit) -> None:
    note.delay(1)
    assert SEEN == []
    (run,) = kit.drain()
    assert (SEEN, run.task, run.outcome, run.retries) == ([1], "tests.unit.testing.test_kit.note", "completed", 0)
    assert kit.drain() == []


def test_one_at_a_time_in_the_order_of_sending(kit: Kit) -> None:
    note.delay(1)
    note.delay(2)
    first = kit.run_one()
    assert first is not None
    assert SEEN == [1]
    kit.run_one()
    assert SEEN == [1, 2]
    assert kit.run_one() is None


def test_tasks_run_in_the_thread_of_the_test(kit: Kit) -> None:
    before = threading.active_count()

    @app.task(shared=False, name="where")
    def where() -> None:
        SEEN.append(threading.get_ident())

    where.delay()
    kit.drain(raising=True)
    assert set(SEEN) == {threading.get_ident()}
    assert threading.active_count() == before


def test_arguments_and_results_travel(kit: Kit) -> None:
    result = note.delay((1, 2))
    kit.drain()
    assert SEEN == [[1, 2]]
    assert result.get() == [1, 2]
    with pytest.raises(UnsendableArgument):
        note.delay(object())


def test_a_result_that_is_waited_for_is_brought(kit: Kit) -> None:
    assert chain(add.s(1, 2), add.s(3)).delay().get(timeout=5) == 6


def test_a_result_that_cannot_come_is_not_waited_for(kit: Kit) -> None:
    later = add.apply_async((1, 2), countdown=3600)
    began = time.monotonic()
    with pytest.raises(NothingRuns, match=rf"add\[{later.id}\] is due in (3600|35..) s"):
        later.get()
    assert time.monotonic() - began < 60


def test_what_holds_up_a_result_is_said(kit: Kit) -> None:
    app.pauses.pause(task=note.name)
    with pytest.raises(NothingRuns, match="is paused"):
        note.delay(1).get()


def test_a_task_must_not_wait_for_another(kit: Kit) -> None:
    @app.task(shared=False, name="waits")
    def waits() -> None:
        note.delay(1).get()

    @app.task(shared=False, name="waits-async")
    async def waits_async() -> None:
        await asyncio.to_thread(note.delay(1).get)

    for task in (waits, waits_async):
        task.delay()
        with pytest.raises(TaskFailed, match="a task's body cannot run other tasks"):
            kit.drain(raising=True)


def test_only_the_queues_that_are_asked_for(kit: Kit) -> None:
    note.apply_async((1,), queue="mails")
    note.apply_async((2,), queue="reports")
    kit.drain(queues=["reports"])
    assert SEEN == [2]
    kit.drain()
    assert SEEN == [2, 1]


def test_one_queue_needs_no_list(kit: Kit) -> None:
    note.delay(1)
    note.apply_async((2,), queue="mails")
    assert [run.outcome for run in kit.drain(queues="mails")] == ["completed"]
    assert kit.run_one(queues="mails") is None
    assert SEEN == [2]


def test_a_task_that_sends_itself_for_ever(kit: Kit) -> None:
    @app.task(shared=False, name="for-ever")
    def for_ever() -> None:
        for_ever.delay()

    for_ever.delay()
    with pytest.raises(NotQuiet, match="for-ever 21 times"):
        kit.drain(most=20)
    kit.app.control.purge()
    note.delay(1)
    assert len(kit.drain(most=1)) == 1


def test_a_task_of_a_name_that_nobody_knows_is_a_dead_letter(kit: Kit) -> None:
    app.send_task("shop.nobody")
    (run,) = kit.drain()
    assert (run.outcome, run.reason) == ("dead-lettered", "unknown-task")
    assert [letter.name for letter in kit.dead_letters] == ["shop.nobody"]


def test_async_and_pydantic_tasks(kit: Kit) -> None:
    @app.task(shared=False, name="async", pydantic=True)
    async def take(order: Order) -> Order:
        await asyncio.sleep(0)
        assert isinstance(order, Order)
        return Order(number=order.number + 1)

    assert take.delay({"number": 7}).get() == {"number": 8}

    async def within_a_loop() -> Any:
        result = take.delay({"number": 1})
        kit.drain(raising=True)
        return result.get()

    assert asyncio.run(within_a_loop()) == {"number": 2}


def test_any_thread_publishes_and_may_wait(kit: Kit) -> None:
    """As the thread does in which a test client runs the application."""
    found: list[Any] = []

    def client(number: int) -> None:
        found.append(add.delay(number, 1).get(timeout=30))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(kit.runs) == 8


# -- failures


def test_a_failure_comes_up_where_the_test_asks_for_it(kit: Kit) -> None:
    fail.delay("out of stock")
    with pytest.raises(TaskFailed) as caught:
        kit.drain(raising=True)
    assert isinstance(caught.value.__cause__, ValueError)
    assert "fail[" in str(caught.value)
    assert "raise ValueError(what)\nValueError: out of stock" in str(caught.value)
    assert "trace.py" not in str(caught.value), "of Celery"


def test_otherwise_it_is_a_dead_letter(kit: Kit) -> None:
    result = fail.delay()
    (run,) = kit.drain()
    assert (run.failed, run.outcome, run.reason) == (True, "dead-lettered", "permanent")
    assert isinstance(run.error, ValueError)
    assert [letter.task_id for letter in kit.dead_letters] == [result.id]
    with pytest.raises(ValueError, match="no"):
        result.get()


def test_a_dead_letter_is_redriven(kit: Kit) -> None:
    result = ship.delay(7, failures=4)
    kit.drain(skip_time=True)
    assert result.state == "FAILURE"
    app.dead_letters.redrive(result.id)
    kit.drain()
    assert app.AsyncResult(result.id).get() == "shipped"
    assert [run.retries for run in kit.attempts(result)] == [0, 1, 2, 3, 0]


def test_what_ends_the_test_ends_it_within_a_task_too(kit: Kit) -> None:
    class Stop(BaseException):
        pass

    @app.task(shared=False, name="stops")
    def stops(how: str) -> None:
        SEEN.append(how)
        if SEEN.count(how) == 1:
            raise KeyboardInterrupt if how == "ctrl-c" else Stop

    stops.delay("ctrl-c")
    with pytest.raises(KeyboardInterrupt):
        kit.drain()
    stops.delay("exit")
    with pytest.raises(Stop):
        kit.drain()
    # It waits again, as if it had not begun.
    (run,) = kit.drain()
    assert (run.outcome, SEEN) == ("completed", ["ctrl-c", "exit", "exit"])


# -- time


def test_retries_run_with_the_delays_that_they_have_in_production(kit: Kit) -> None:
    began, start = time.monotonic(), kit.now
    result = ship.delay(7)
    runs = kit.drain(skip_time=True)
    assert [run.outcome for run in runs] == ["retry", "retry", "retry", "dead-lettered"]
    assert [run.delay for run in runs] == [1.0, 10.0, 100.0, None]
    assert runs == kit.attempts(result.id)
    assert 111 <= (kit.now - start).total_seconds() < 111 + (time.monotonic() - began)
    assert time.monotonic() - began < 60
    assert [letter.reason for letter in kit.dead_letters] == ["exhausted"]


def test_a_retry_is_not_before_its_time(kit: Kit) -> None:
    by_hand.delay()
    assert len(kit.drain()) == 1
    kit.advance(30)
    assert kit.drain() == []
    kit.advance(timedelta(seconds=30))
    assert [run.retries for run in kit.drain()] == [1]


def test_celerys_own_retries_go_by_the_same_clock(kit: Kit) -> None:
    kit.advance(100_000)  # what is counted from Python's clock is long over by this one
    by_hand.delay()
    assert [run.delay for run in kit.drain(skip_time=True)] == [60.0, 60.0, None]


def test_a_retry_budget_goes_by_the_same_clock(kit: Kit) -> None:
    @app.task(shared=False, name="budget", retries=Retries(None, 10, jitter=False, growth="fixed", budget=25))
    def budget() -> None:
        raise ConnectionError("away")

    kit.advance(1000)
    budget.delay()
    runs = kit.drain(skip_time=True)
    assert ([run.delay for run in runs], runs[-1].reason) == ([10.0, 10.0, None], "budget")


def test_countdown_and_eta(kit: Kit) -> None:
    kit.advance(100_000)
    note.apply_async((1,), countdown=60)
    note.apply_async((2,), eta=kit.now + timedelta(seconds=30))
    assert kit.drain() == []
    kit.advance(30)
    kit.drain()
    assert SEEN == [2]
    kit.advance(30)
    kit.drain()
    assert SEEN == [2, 1]


def test_a_task_may_read_pythons_clock_for_its_eta(kit: Kit) -> None:
    """The kit's clock goes as Python's does: one that stood would be behind by what the test takes."""
    now = kit.now
    note.apply_async((1,), eta=datetime.now(timezone.utc) + timedelta(seconds=30))
    kit.advance(30)
    assert kit.now - now == timedelta(seconds=30)
    kit.drain()
    assert SEEN == [1]


def test_each_falls_due_at_its_own_time(kit: Kit) -> None:
    start = kit.now
    for countdown in (300, 100, 200):
        note.apply_async((countdown,), countdown=countdown)
    runs = kit.drain(skip_time=True)
    assert SEEN == [100, 200, 300]
    assert [run.at - start for run in runs] == [timedelta(seconds=countdown) for countdown in SEEN]


def test_what_is_due_and_not_asked_for_is_not_waited_for(kit: Kit) -> None:
    note.apply_async((1,), countdown=60)
    assert kit.drain(queues=[], skip_time=True) == []
    kit.drain()
    assert SEEN == [1]


@pytest.mark.parametrize("until", [250, timedelta(seconds=250), "datetime"])
def test_up_to_a_moment(kit: Kit, until: Any) -> None:
    start = kit.now
    for countdown in (300, 100, 200):
        note.apply_async((countdown,), countdown=countdown)
    kit.drain(until=start + timedelta(seconds=250) if until == "datetime" else until)
    assert SEEN == [100, 200]
    assert 250 <= (kit.now - start).total_seconds() < 290


@pytest.mark.parametrize("until", [-60, timedelta(minutes=-1), datetime(2020, 1, 1)])
def test_up_to_a_moment_that_is_over(kit: Kit, until: Any) -> None:
    with pytest.raises(KitError, match=r"until=.* is \d+ s ago: the kit's clock is at "):
        kit.drain(until=until)
    assert kit.drain(until=kit.now) == []


def test_the_runs_of_a_task(kit: Kit) -> None:
    first = note.delay(1)
    add.delay(1, 2)
    note.delay(2)
    runs = kit.drain()
    assert kit.attempts(note) == [runs[0], runs[2]]
    assert kit.attempts(first) == kit.attempts(first.id) == [runs[0]]
    with pytest.raises(KitError, match="no result, no task's id and no task"):
        kit.attempts(kit)


def test_what_expires(kit: Kit) -> None:
    late = note.apply_async((1,), expires=60)
    in_time = note.apply_async((2,), countdown=30, expires=60)
    kit.advance(30)
    kit.drain(queues=[])
    kit.advance(31)
    assert [run.outcome for run in kit.drain()] == ["revoked", "revoked"]
    assert SEEN == []
    with pytest.raises(TaskRevokedError):
        late.get()
    assert in_time.state == "REVOKED"


def test_what_has_not_expired_by_the_clock_of_the_test(kit: Kit) -> None:
    kit.advance(3600)
    note.apply_async((1,), expires=60)
    kit.advance(59)
    kit.drain()
    assert SEEN == [1]


def test_results_and_history_tell_the_time_of_the_test(kit: Kit) -> None:
    kit.advance(100_000)
    since, result = app.store.now(), fail.delay()
    fine = note.delay(1)
    kit.drain()
    (attempt,) = app.store.attempts(result.id)
    assert attempt.started_at is not None
    assert attempt.started_at >= since
    assert attempt.finished_at >= since
    for ended in (result, fine):
        record = app.store.records([ended.id])[ended.id]
        assert record.finished_at is not None
        assert record.finished_at >= since
        assert record.expires_at is not None
        assert record.expires_at >= since + app.backend.expires


def test_what_is_said_between_runs_is_of_the_same_time(kit: Kit) -> None:
    kit.advance(100_000)
    app.backend.store_result("by-hand", 1, "SUCCESS")
    record = app.store.records(["by-hand"])["by-hand"]
    assert record.expires_at is not None
    assert record.expires_at >= app.store.now() + app.backend.expires


def test_the_clock_does_not_go_back(kit: Kit) -> None:
    with pytest.raises(KitError, match="forward only"):
        kit.advance(-1)


def test_pythons_clock_can_be_taken_along(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead, real = [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead[0])

    def move(seconds: float) -> None:
        ahead[0] += seconds

    with Kit(app, move=move) as kit:

        @app.task(shared=False, name="when")
        def when() -> None:
            SEEN.append(time.time())

        when.apply_async(countdown=3600)
        kit.drain(skip_time=True)
        assert SEEN[-1] >= real() + 3590
        assert abs(kit.now.timestamp() - time.time()) < 5
    with Kit(app, move=lambda _: None) as kit, pytest.raises(KitError, match=r"moved time.time\(\) by 0.000 s"):
        kit.advance(60)


def test_whoever_moves_pythons_clock_moves_the_kits(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    note.apply_async((1,), countdown=3600)
    assert kit.drain() == []
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    kit.drain()
    assert SEEN == [1]


# -- celeriac's semantics


def test_idempotency_keys(kit: Kit) -> None:
    first, second = charge.delay(7), charge.delay(7)
    assert first.id == second.id
    with pytest.raises(IdempotencyConflict):
        charge.delay(7, amount=5)
    kit.drain()
    assert charge.delay(7).get() == "charged 7"
    assert SEEN == [7]
    kit.advance(3601)  # and the key is free again
    assert charge.delay(7).get() == "charged 7"
    assert SEEN == [7, 7]


def test_snooze(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    @app.task(shared=False, name="snoozes")
    def snoozes() -> str:
        SEEN.append("run")
        if len(SEEN) == 1:
            raise Snooze(900)
        return "done"

    kit.advance(100_000)
    result = snoozes.delay()
    runs = kit.drain(skip_time=True)
    assert [(run.outcome, run.delay, run.retries) for run in runs] == [("snoozed", 900.0, 0), ("completed", None, 0)]
    assert result.get() == "done"
    said = [record.getMessage() for record in caplog.records if f"snoozes[{result.id}]" in record.getMessage()]
    assert sum("is put off for 900 s" in text for text in said) == 1
    assert not any("ignored" in text for text in said)


def test_rates(kit: Kit) -> None:
    @app.task(shared=False, name="limited", limits=Rate("2/m"))
    def limited(number: int) -> None:
        SEEN.append(number)

    for number in range(5):
        limited.delay(number)
    assert len(kit.drain()) == 1
    kit.drain(until=31)
    assert SEEN == [0, 1]
    kit.drain(skip_time=True)
    assert SEEN == [0, 1, 2, 3, 4]


def test_concurrency_lets_one_after_the_other_start(kit: Kit) -> None:
    @app.task(shared=False, name="alone", limits=Concurrency(1))
    def alone() -> None:
        SEEN.append(sum(app.store.taken().values()))

    for _ in range(3):
        alone.delay()
    kit.drain()
    assert SEEN == [1, 1, 1]
    assert app.store.rules  # as a worker's, they outrank what messages carry


def test_circuits(kit: Kit) -> None:
    @app.task(shared=False, name="calls", circuits=Circuit("gateway", minimum=2), retries=False)
    def calls(fails: bool) -> str:
        SEEN.append("called")
        if fails:
            raise ConnectionError("away")
        return "fine"

    for _ in range(2):
        calls.delay(True)
    kit.drain()
    last = calls.delay(False)
    (run,) = kit.drain()
    assert (run.outcome, len(SEEN)) == ("snoozed", 2)
    kit.drain(skip_time=True)
    assert last.get() == "fine"


def test_what_a_circuit_has_counted_is_known_when_all_is_quiet(kit: Kit) -> None:
    @app.task(shared=False, name="counted", circuits=Circuit("counted"))
    def counted() -> None:
        pass

    for _ in range(3):
        counted.delay()
    kit.drain()
    assert [status.succeeded for status in app.circuits.list() if status.name == "counted"] == [3]


def test_pauses(kit: Kit) -> None:
    note.delay(1)
    app.pauses.pause(task=note.name)
    note.apply_async((2,), countdown=60)
    add.apply_async((1, 1), countdown=120)
    kit.drain(skip_time=True)  # what is paused and due holds up nothing that falls due later
    assert SEEN == []
    assert outcomes(kit) == ["completed"]
    app.pauses.resume(task=note.name)
    kit.drain()
    assert SEEN == [1, 2]


def test_a_paused_queue_holds_up_nothing_else(kit: Kit) -> None:
    app.pauses.pause(queue="mails")
    note.apply_async((1,), queue="mails", countdown=60)
    note.apply_async((2,), countdown=120)
    kit.drain(skip_time=True)
    assert SEEN == [2]


def test_revokes(kit: Kit) -> None:
    result = note.delay(1)
    app.control.revoke(result.id)
    assert [run.outcome for run in kit.drain()] == ["revoked"]
    assert SEEN == []
    assert result.state == "REVOKED"


def test_chords_links_and_error_links(kit: Kit) -> None:
    body = chord([add.s(1, 2), add.s(3, 4)], total.s()).delay()
    linked = add.apply_async((1, 1), link=note.s())
    fail.apply_async(link_error=note.si("told"))
    kit.drain()
    assert body.get() == 10
    assert linked.get() == 2
    assert sorted(SEEN, key=str) == [2, "told"]


def test_a_chord_whose_member_gives_up(kit: Kit) -> None:
    body = chord([add.s(1, 2), fail.si()], total.s()).delay()
    kit.drain()
    assert body.state == "FAILURE"


def test_groups_and_replacements(kit: Kit) -> None:
    @app.task(shared=False, bind=True, name="replaces")
    def replaces(self: Any) -> Any:
        raise self.replace(add.si(2, 3))

    assert group(add.s(1, 1), replaces.si()).delay().get() == [2, 5]


def test_reject_and_ignore(kit: Kit) -> None:
    @app.task(shared=False, name="ends")
    def ends(how: str) -> None:
        SEEN.append(how)
        if how == "requeue" and SEEN.count(how) == 1:
            raise Reject("not now", requeue=True)
        raise Ignore if how == "ignore" else Reject("never")

    for how in ("ignore", "reject", "requeue"):
        ends.delay(how)
    kit.drain()
    assert sorted(outcomes(kit)) == ["failed", "failed", "ignored", "requeued"]


def test_a_task_that_is_left_to_celery_is_retried_too(kit: Kit) -> None:
    @app.task(shared=False, name="stock", durable=False, bind=True, max_retries=1, default_retry_delay=30)
    def stock(self: Any, how: str) -> str:
        SEEN.append(how)
        if how == "retry":
            raise self.retry()
        if how == "fail":
            raise ValueError(how)
        return how

    for how in ("fine", "fail", "retry"):
        stock.delay(how)
        kit.drain(skip_time=True)
    assert outcomes(kit) == ["completed", "failed", "retry", "failed"]


def test_what_a_rolled_back_transaction_published_is_nowhere(kit: Kit) -> None:
    with closing(sqlite3.connect(app.store.location, isolation_level=None)) as connection:
        for end in ("ROLLBACK", "COMMIT"):
            connection.execute("BEGIN IMMEDIATE")
            with app.transaction(connection):
                note.delay(end)
            connection.execute(end)
    kit.drain()
    assert SEEN == ["COMMIT"]
    kit.assert_published(note, times=1)


def test_an_outbox_is_emptied(tmp_path: Path) -> None:
    SEEN.clear()
    own = Celery("own", broker="amqp://127.0.0.1:1//", celeriac_outboxes=[f"sqlite:///{tmp_path}/shop.db"])

    @own.task(shared=False, name="see")
    def see(what: str) -> None:
        SEEN.append(what)

    with Kit(own) as kit, closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as connection:
        connection.executescript(ddl("outbox", "sqlite"))
        for end in ("ROLLBACK", "COMMIT"):
            connection.execute("BEGIN IMMEDIATE")
            with own.transaction(connection):
                see.delay(end)
            connection.execute(end)
        kit.assert_published(see, args=("COMMIT",), times=1)
        kit.drain()
        connection.execute("BEGIN IMMEDIATE")
        with own.transaction(connection):
            see.delay("again")
        connection.execute("COMMIT")
        kit.drain()
    assert SEEN == ["COMMIT", "again"]


# -- what was published


def test_what_was_published(kit: Kit) -> None:
    charge.apply_async((7,), {"amount": 5}, countdown=60, queue="money", expires=3600, priority=3)
    (found,) = kit.published()
    assert (found.task, found.args, found.kwargs, found.queue) == (charge.name, [7], {"amount": 5}, "money")
    assert (found.countdown, found.priority, found.key) == (60, 3, "charge:7")
    assert found.eta is not None
    assert found.expires is not None
    assert found.eta == kit.now + timedelta(seconds=60)
    assert found.expires == kit.now + timedelta(seconds=3600)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"args": (7, 5)},
        {"args": [7], "kwargs": {"amount": 5}},
        {"kwargs": {"order_id": 7, "amount": 5}},
        {"args": (7, ANY)},
        {"queue": "money"},
        {"countdown": 60},
        {"where": lambda item: item.key == "charge:7"},
    ],
)
def test_a_published_task_is_found(kit: Kit, wanted: Any) -> None:
    charge.apply_async((7,), {"amount": 5}, countdown=60, queue="money")
    assert kit.assert_published(charge, **wanted) == kit.published()[0]
    assert kit.published(charge.name, **wanted)
    with pytest.raises(AssertionError, match=r"was published:\n  .*charge\(7, amount=5\) to money, due in 60 s"):
        kit.assert_not_published(charge, **wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        {"args": (8, 5)},
        {"args": (7,)},
        {"kwargs": {"amount": 5}},
        {"queue": "celery"},
        {"countdown": 30},
        {"where": lambda item: item.key is None},
    ],
)
def test_another_is_not(kit: Kit, wanted: Any) -> None:
    charge.apply_async((7,), {"amount": 5}, countdown=60, queue="money")
    kit.assert_not_published(charge, **wanted)
    with pytest.raises(AssertionError, match=r"was not published.*\n  .*charge\(7, amount=5\) to money, due in 60 s"):
        kit.assert_published(charge, **wanted)


def test_defaults_are_arguments_too(kit: Kit) -> None:
    charge.delay(7)
    kit.assert_published(charge, args=(7, 100))
    kit.assert_published(charge, args=(7,))


def test_arguments_are_compared_as_they_travel(kit: Kit) -> None:
    note.delay({"when": datetime(2030, 1, 1, tzinfo=timezone.utc), "pair": (1, 2)})
    kit.assert_published(note, args=({"when": datetime(2030, 1, 1, tzinfo=timezone.utc), "pair": (1, 2)},))
    kit.assert_published(note, args=[{"when": datetime(2030, 1, 1, tzinfo=timezone.utc), "pair": [1, 2]}])


def test_how_often(kit: Kit) -> None:
    note.delay(1)
    note.delay(1)
    kit.assert_published(note, times=2)
    kit.assert_published(add, times=0)
    with pytest.raises(AssertionError, match="was published 2 times, not 1"):
        kit.assert_published(note, times=1)


def test_a_name_that_is_almost_one(kit: Kit) -> None:
    with pytest.raises(
        AssertionError, match=r"did you mean tests\.unit\.testing\.test_kit\.charge\? Nothing was published"
    ):
        kit.assert_published("tests.unit.testing.test_kit.chrage")
    with pytest.raises(KitError, match="no task"):
        kit.assert_published(7)


def test_that_none_of_a_misspelt_name_was_published_is_no_answer(kit: Kit) -> None:
    charge.delay(7)
    for asked in (kit.assert_not_published, partial(kit.assert_published, times=0)):
        with pytest.raises(KitError, match=r"did you mean tests\.unit\.testing\.test_kit\.charge\? .* where="):
            asked("tests.unit.testing.test_kit.chrage")
        asked("billing.refund")  # another service's


def test_a_signature_is_asked_for_with_its_arguments(kit: Kit) -> None:
    charge.apply_async((7,), {"amount": 5}, countdown=60, queue="money")
    kit.assert_published(charge.s(7, amount=5))
    kit.assert_published(charge.si(7, amount=5).set(queue="money", countdown=60), times=1)
    kit.assert_not_published(charge.s(7, 5), queue="mails")
    for other in (charge.s(8, 5), charge.s(), charge.s(7, 5).set(queue="mails"), charge.s(7, 5).set(countdown=5)):
        kit.assert_not_published(other)
    with pytest.raises(KitError, match=r"has its arguments, and args= gives others"):
        kit.published(charge.s(7), args=(8,))
    with pytest.raises(KitError, match="a chain is published task by task"):
        kit.assert_published(charge.s(7) | note.s())


def test_a_condition_that_there_is_not(kit: Kit) -> None:
    with pytest.raises(TypeError, match=r"arg= is no condition .* args=, kwargs=, queue=, countdown=, where="):
        kit.assert_published(charge, arg=(7,))  # type: ignore[call-arg]  # that is the point


def test_what_a_failing_assertion_shows_fits_a_line(kit: Kit) -> None:
    charge.delay(7)
    result = fail.delay("out of stock")
    kit.drain()
    assert repr(kit.published(charge)) == "[<PublishedTask tests.unit.testing.test_kit.charge(7) to celery>]"
    name = f"tests.unit.testing.test_kit.fail[{result.id}]"
    assert repr(kit.dead_letters) == f"[<DeadLetter 1: {name} permanent, ValueError: out of stock>]"
    shown = f"<Run tests.unit.testing.test_kit.fail[{result.id}] dead-lettered, ValueError: out of stock>"
    assert repr(kit.attempts(result)) == f"[{shown}]"


def test_a_task_that_is_sent_by_itself_is_of_no_workflow(kit: Kit) -> None:
    assert note.delay(1).workflow_id is None
    assert chain(note.s(1), note.s()).delay().workflow_id is not None


def test_what_tasks_send_is_published_and_what_they_retry_is_not(kit: Kit) -> None:
    chain(add.s(1, 2), note.s()).delay()
    ship.delay(7)
    kit.assert_not_published(note)
    kit.drain(skip_time=True)
    kit.assert_published(note, args=(3,), times=1)
    kit.assert_published(ship, times=1)


def test_a_copy_that_was_not_sent_is_not_published(kit: Kit) -> None:
    charge.delay(7)
    charge.delay(7)
    kit.assert_published(charge, times=1)


def test_many_at_once(kit: Kit) -> None:
    app.send_tasks([note.s(number) for number in range(50)])
    kit.assert_published(note, times=50)


def test_the_log_says_of_what_is_put_off_that_and_nothing_else(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(shared=False, name="later")
    def later(ignored: bool) -> None:
        raise Ignore if ignored else Snooze(60, "not now")

    caplog.set_level("INFO")
    task_id = later.delay(False).id
    kit.run_one()
    assert [line for line in caplog.messages if task_id in line and "received" not in line] == [
        f"task later[{task_id}] is put off for 60 s: not now"
    ]
    ignored = later.delay(True).id
    kit.run_one()
    assert f"Task later[{ignored}] ignored" in caplog.messages


# -- everything is put back


def test_the_app_is_as_it_was() -> None:
    own = Celery("own", broker=BROKER, backend="cache+memory://", task_always_eager=True)

    @own.task(shared=False, name="one")
    def task() -> int:
        return 1

    own.finalize()
    own.backend_cls = "cache+memory://"  # as a class of app may say, and more than any setting
    acks = task.acks_late
    for _ in range(2):
        with Kit(own) as kit:
            assert task.delay().get() == 1
            assert kit.runs[0].outcome == "completed"
            assert own.conf.result_backend.startswith("sqlite:")
            assert type(own.backend).__name__ == "LedgerBackend"
    assert (own.conf.broker_url, own.conf.result_backend) == (BROKER, "cache+memory://")
    assert (own.conf.task_always_eager, task.acks_late, task.__trace__) == (True, acks, None)
    assert not {"now", "store", "keeper", "execution_room"} & own.__dict__.keys()
    assert type(own.backend).__name__ == "CacheBackend"
    assert own.backend_cls == "cache+memory://"
    assert abs((own.now() - datetime.now(timezone.utc)).total_seconds()) < 5


def test_a_failing_test_puts_it_back_too() -> None:
    def test() -> None:
        with Kit(app):
            note.delay(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        test()
    assert app.conf.broker_url == BROKER


def test_the_environment_leads_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery heeds it more than any setting."""
    monkeypatch.setenv("CELERY_BROKER_URL", "amqp://127.0.0.1:1//")
    with Kit(app):
        assert app.conf.broker_url.startswith("sqlite:")
        assert note.delay(1).get() == 1
    assert app.conf.broker_url == "amqp://127.0.0.1:1//"


def test_one_test_knows_nothing_of_another() -> None:
    for _ in range(2):
        SEEN.clear()
        with Kit(app) as kit:
            kit.advance(100)
            charge.delay(7)
            kit.drain()
            assert SEEN == [7]
            assert len(kit.published()) == 1


def test_an_id_that_has_expired_in_one_test_runs_in_the_next() -> None:
    for outcome in ("revoked", "completed"):
        SEEN.clear()
        with Kit(app) as kit:
            note.apply_async((1,), task_id="order-1", expires=10 if outcome == "revoked" else None)
            kit.advance(20)
            assert [run.outcome for run in kit.drain()] == [outcome]


def test_a_circuit_that_one_test_opened_is_closed_in_the_next() -> None:
    for _ in range(2):
        with Kit(app) as kit, app.circuit(Circuit("opened")):
            pass
        with Kit(app) as kit:
            app.circuits.open("opened", 60)
            assert [status.state for status in app.circuits.list() if status.name == "opened"] == ["open"]
        with Kit(app) as kit:
            kit.drain()
            with app.circuit("opened"):
                pass


def test_a_circuit_of_the_apps_own_store_is_as_it_was(tmp_path: Path) -> None:
    own = Celery("own", broker=f"sqlite:///{tmp_path}/own.db")
    with own.circuit(Circuit("theirs")):
        pass
    own.circuits.open("theirs", 60)
    with Kit(own), own.circuit("theirs"):
        pass
    with pytest.raises(CircuitOpen), own.circuit("theirs"):
        pass
    own.store.close()


def test_two_kits_of_one_app() -> None:
    with Kit(app), pytest.raises(KitError, match="under a kit already"), Kit(app):
        pass
    assert app.conf.broker_url == BROKER


def test_what_is_no_app_of_ours() -> None:
    import celery

    with pytest.raises(KitError, match="no app of celeriac's"), Kit(celery.Celery("stock")):
        pass
