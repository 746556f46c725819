"""One process's view of a circuit: what it asks and tells, and when."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import signals
from celery.exceptions import Ignore, Reject, Retry

from celeriac import Celery, Circuit, CircuitOpen, Snooze
from celeriac.core import circuits
from celeriac.core.circuits import Phase
from celeriac.errors import CeleriacWarning, CircuitError, OptionError, StoreUnavailable
from celeriac.execution import breaker as module
from celeriac.execution.breaker import Breaker, Entry
from celeriac.store.sqlite import SQLiteStore
from tests.support import wait_for

GATEWAY = Circuit("gateway", minimum=4, open_for=30, on=OSError)
DOWN = ConnectionError("down")


class Counted(SQLiteStore):
    """Notes how often it is asked; may be away, and ahead of its time."""

    reads = writes = 0
    away = False
    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead

    def read_circuit(self, name: str) -> tuple[int, str | None]:
        self.reads += 1
        if self.away:
            raise StoreUnavailable("here", "away")
        return super().read_circuit(name)

    def write_circuit(self, name: str, version: int, state: str) -> bool:
        self.writes += 1
        return super().write_circuit(name, version, state)


@pytest.fixture(autouse=True)
def _told_before_the_store_is_gone() -> Iterator[None]:
    yield
    for breaker in list(module._ALL):
        breaker.rest()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Counted]:
    opened = Counted(tmp_path / "shop.db")
    yield opened
    opened.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The process's own clock, which stands still until it is moved."""
    now = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep))
    return now


def another(store: Counted) -> Breaker:
    """That of another process."""
    return Breaker(GATEWAY, lambda: store)


def call(breaker: Breaker, error: BaseException | None = None) -> None:
    entry = breaker.enter()
    assert isinstance(entry, Entry)
    breaker.leave(entry, error)


def phase(store: Counted) -> Phase:
    return circuits.load(SQLiteStore.read_circuit(store, "gateway")[1]).phase


def told(store: Counted) -> tuple[int, int]:
    """How many calls have succeeded and failed, as far as processes have told."""
    return circuits.totals(circuits.load(SQLiteStore.read_circuit(store, "gateway")[1]).slices)


def open_it(store: Counted) -> Breaker:
    breaker = another(store)
    for _ in range(GATEWAY.minimum):
        call(breaker, DOWN)
    assert phase(store) is Phase.OPEN
    return breaker


def test_calls_that_succeed_reach_the_store_once_a_second(store: Counted, clock: list[float]) -> None:
    """And the first of them at once, so that others know of whom to wait for more."""
    breaker = another(store)
    for _ in range(1000):
        call(breaker)
    assert (store.reads, store.writes) == (2, 1)
    assert told(store) == (1, 0)
    clock[0] += module.EVERY
    for _ in range(1000):
        call(breaker)
    assert (store.reads, store.writes) == (3, 2)
    assert told(store) == (1000, 0)


def test_it_opens_with_the_call_that_is_one_too_many(store: Counted, clock: list[float]) -> None:
    breaker = another(store)
    for _ in range(GATEWAY.minimum - 1):
        call(breaker, DOWN)
    assert phase(store) is Phase.CLOSED
    call(breaker, DOWN)
    assert phase(store) is Phase.OPEN
    assert isinstance(breaker.enter(), float)


def test_it_opens_with_that_call_also_while_a_thread_tells_of_those_before(
    store: Counted, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its timer's; what that tells is in neither count until it has told it."""
    monkeypatch.setattr(module, "EVERY_FAILING", 30.0)
    breaker = another(store)
    for _ in range(GATEWAY.minimum - 1):
        call(breaker, DOWN)
    writes, told_of, goes_on = store.write_circuit, threading.Event(), threading.Event()

    def slowly(*args: Any) -> bool:
        told_of.set()
        goes_on.wait()
        return writes(*args)

    monkeypatch.setattr(store, "write_circuit", slowly)
    timer = threading.Thread(target=breaker.sync)
    timer.start()
    told_of.wait()
    threading.Timer(0.05, goes_on.set).start()
    call(breaker, DOWN)
    timer.join()
    assert phase(store) is Phase.OPEN
    assert isinstance(breaker.enter(), float)


def test_processes_add_up(store: Counted, clock: list[float]) -> None:
    processes = [another(store) for _ in range(4)]
    for one in processes:
        call(one, DOWN)
        clock[0] += module.EVERY
        one.refresh()
    assert phase(store) is Phase.OPEN


def test_the_others_know_within_a_second_and_count_nothing_of_before(store: Counted, clock: list[float]) -> None:
    other = another(store)
    call(other, DOWN)
    late = other.enter()
    assert isinstance(late, Entry)
    open_it(store)
    clock[0] += module.EVERY
    assert isinstance(other.enter(), float)
    other.leave(late, DOWN)
    other.change(circuits.closed)
    other.leave(late, DOWN)
    clock[0] += module.EVERY
    call(other)
    clock[0] += module.EVERY
    other.refresh()
    state = circuits.load(SQLiteStore.read_circuit(store, "gateway")[1])
    assert circuits.totals(state.slices) == (1, 0)


@pytest.mark.parametrize("here", [False, True], ids=["elsewhere", "here"])
def test_what_was_counted_before_a_change_is_not_counted_after_it(
    store: Counted, clock: list[float], here: bool
) -> None:
    breaker = another(store)
    for _ in range(GATEWAY.minimum - 1):
        call(breaker, DOWN)
    (breaker if here else another(store)).change(circuits.closed)
    clock[0] += module.EVERY
    breaker.refresh()
    call(breaker, DOWN)
    assert phase(store) is Phase.CLOSED
    state = circuits.load(SQLiteStore.read_circuit(store, "gateway")[1])
    assert circuits.totals(state.slices) == (0, 0)


def test_looking_lets_probes_be_asked_for(store: Counted, clock: list[float]) -> None:
    breaker = open_it(store)
    until = breaker.look()
    assert until is not None
    assert until >= store.now() + GATEWAY.open_for - 1
    store.ahead = GATEWAY.open_for + 1
    assert breaker.look() is None
    entry = breaker.enter()
    assert isinstance(entry, Entry)
    assert entry.permit is not None
    assert isinstance(another(store).enter(), float)
    breaker.leave(entry, None)
    assert phase(store) is Phase.CLOSED
    assert isinstance(breaker.enter(), Entry)


def test_what_succeeds_elsewhere_keeps_it_closed_although_it_is_told_late(store: Counted, clock: list[float]) -> None:
    busy, failing = another(store), another(store)
    for _ in range(100):
        call(busy)
    for _ in range(GATEWAY.minimum * 2):
        call(failing, DOWN)
        clock[0] += module.EVERY_FAILING / 2
    assert phase(store) is Phase.CLOSED
    busy.sync()
    failing.sync()
    assert phase(store) is Phase.CLOSED
    assert told(store) == (100, GATEWAY.minimum * 2)


def test_who_makes_no_further_call_tells_what_it_has_counted_all_the_same(store: Counted) -> None:
    breaker = another(store)
    for _ in range(3):
        call(breaker)
    wait_for(lambda: told(store) == (3, 0), 30, lambda: str(told(store)))
    assert breaker._timer is None


def test_a_circuit_in_doubt_opens_though_nobody_calls(store: Counted) -> None:
    call(another(store))
    failing = another(store)
    for _ in range(GATEWAY.minimum):
        call(failing, DOWN)
    wait_for(lambda: phase(store) is Phase.OPEN, 30, lambda: str(told(store)))


def test_where_no_thread_can_be_started_the_next_call_tells(
    store: Counted, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    breaker = another(store)
    for _ in range(3):
        call(breaker)
    assert told(store) == (1, 0)
    clock[0] += module.EVERY
    call(breaker)
    assert told(store) == (3, 0)


def test_a_process_that_ends_tells_what_it_has_counted(store: Counted, clock: list[float]) -> None:
    breaker = another(store)
    for _ in range(3):
        call(breaker)
    breaker.finish()
    assert told(store) == (3, 0)


def test_a_pools_process_that_ends_tells_of_all_circuits(tmp_path: Path) -> None:
    app = app_of(tmp_path)
    _ = app.execution_room
    for _ in range(3):
        with app.circuit(GATEWAY):
            pass
    signals.worker_process_shutdown.send(sender=None)
    assert circuits.totals(circuits.load(app.store.read_circuit("gateway")[1]).slices) == (3, 0)
    app.store.close()


def test_who_declares_it_otherwise_is_told_of_it_once(
    store: Counted, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    old, new = another(store), Breaker(Circuit("gateway", window=600, open_for=30, on=OSError), lambda: store)
    for _ in range(3):
        call(old)
        call(new)
        clock[0] += module.EVERY
    told_of = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told_of) == 2
    assert "declares it with window=60, minimum=4, and this one with window=600, minimum=10" in told_of[0]


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What was said of the gateway since the last time, with how loud."""
    found = [(record.levelname, record.getMessage().removeprefix("circuit 'gateway' is ")) for record in caplog.records]
    caplog.clear()
    return found


def test_the_log_says_loudly_that_it_opens_and_closes_and_softly_what_is_between(
    store: Counted, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="celeriac.execution")
    other = another(store)
    other.refresh()
    breaker = open_it(store)
    (level, text), *more = said(caplog)
    assert (level, more) == ("WARNING", [])
    assert text.startswith("open: too many of the calls within 60 s have failed. ")
    assert text.endswith("it is probed in 30 s")
    clock[0] += module.EVERY
    other.refresh()
    assert said(caplog) == [("DEBUG", "open")]
    store.ahead += GATEWAY.open_for + 1
    call(breaker, DOWN)
    assert said(caplog) == [
        ("DEBUG", "half-open"),
        ("INFO", "open as before: a probe has failed, and the next is in 30 s"),
    ]
    store.ahead += GATEWAY.open_for + 1
    call(breaker)
    assert said(caplog) == [("DEBUG", "half-open"), ("WARNING", "closed: what it protects answers again")]


def test_what_is_done_by_hand_is_said_by_all(
    store: Counted, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="celeriac.execution")
    other = another(store)
    another(store).change(lambda state, now: circuits.opened(GATEWAY, state, now, by_hand=True, by="ada", note="moves"))
    other.refresh()
    assert said(caplog) == [("INFO", "open, by ada: moves")] * 2


def test_what_is_kept_back_is_told_and_costs_no_write_each(store: Counted, clock: list[float]) -> None:
    breaker = open_it(store)
    writes = store.writes
    assert all(breaker.look() is not None for _ in range(500))
    assert store.writes == writes
    clock[0] += module.EVERY
    last = another(store).look()
    breaker.refresh()
    until = another(store).look()
    assert last is not None
    assert until is not None
    assert until - last > 3  # they know of those who wait already


def test_a_store_that_is_away_loses_no_count_and_stops_no_call(store: Counted, clock: list[float]) -> None:
    breaker = another(store)
    call(breaker, DOWN)
    store.away = True
    for _ in range(GATEWAY.minimum):
        clock[0] += module.EVERY
        call(breaker, DOWN)
    store.away = False
    clock[0] += module.EVERY
    breaker.refresh()
    assert phase(store) is Phase.OPEN


def test_nobody_probes_while_nobody_can_say_who_may(store: Counted, clock: list[float]) -> None:
    breaker = open_it(store)
    store.ahead = GATEWAY.open_for + 1
    store.away = True
    until = breaker.enter()
    assert isinstance(until, float)
    assert until <= store.now() + circuits.ASK_AGAIN


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (None, True),
        (DOWN, False),
        (ValueError("declined"), True),
        (Retry(exc=DOWN), False),
        (Retry(exc=ValueError()), True),
        (Retry(), None),
        (Ignore(), None),
        (Snooze(1), None),
        (CircuitOpen("mail", 0.0), None),
        (Reject(), None),
        (KeyboardInterrupt(), None),
        (SystemExit(1), None),
    ],
)
def test_what_the_end_of_a_call_says(store: Counted, error: BaseException | None, verdict: bool | None) -> None:
    assert another(store)._verdict(error) is verdict


def test_a_function_that_raises_is_not_the_tasks_error(store: Counted) -> None:
    def on(error: BaseException) -> bool:
        raise RuntimeError("a mistake")

    breaker = Breaker(Circuit("gateway", on=on), lambda: store)
    call(breaker, DOWN)
    assert breaker._counted() == []


def test_a_child_counts_nothing_of_its_parents(store: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_FAILING", 600)  # what was told would be counted no more
    breaker = another(store)
    call(breaker, DOWN)
    child = os.fork()
    if not child:
        os._exit(len(breaker._counted()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(breaker._counted()) == 1


def test_a_closed_circuit_costs_little(store: Counted) -> None:
    """A hundred times what it takes on an idle machine is allowed: no I/O hides in it."""
    breaker = another(store)
    call(breaker)
    started = time.process_time()
    for _ in range(2000):
        call(breaker)
    assert (time.process_time() - started) / 2000 < 300e-6


# -- an app's


def _body() -> None: ...


def app_of(tmp_path: Path) -> Celery:
    return Celery("shop", broker=f"sqlite:///{tmp_path}/shop.db")


def test_tasks_that_name_one_circuit_agree_on_it(tmp_path: Path) -> None:
    app = app_of(tmp_path)
    app.task(shared=False, name="pay", circuits=GATEWAY)(_body)
    app.task(shared=False, name="refund", circuits=[Circuit("gateway", open_for=7)])(_body)
    with pytest.raises(OptionError, match="task refund, option circuits: elsewhere 'gateway'"):
        app.finalize()


def test_a_name_that_nobody_declares(tmp_path: Path) -> None:
    app = app_of(tmp_path)
    app.task(shared=False, name="pay", circuits=GATEWAY)(_body)
    with pytest.raises(CircuitError, match="did you mean 'gateway'"):
        app.circuit("gatway")
    with pytest.raises(CircuitError, match="declare it"):
        app.circuit("mail")
    with pytest.raises(CircuitError, match="elsewhere it is"):
        app.circuit(Circuit("gateway", open_for=7))


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 1e9])
def test_opened_for_no_time_at_all(tmp_path: Path, seconds: float) -> None:
    app = app_of(tmp_path)
    app.task(shared=False, name="pay", circuits=GATEWAY)(_body)
    with pytest.raises(CircuitError, match="cannot be opened for"):
        app.circuits.open("gateway", seconds)
    app.store.close()


def test_an_option_of_one_call_is_refused(tmp_path: Path) -> None:
    app = app_of(tmp_path)
    pay: Any = app.task(shared=False, name="pay")(_body)
    with pytest.raises(OptionError, match="option circuits"):
        pay.apply_async(circuits=[GATEWAY])


def test_without_a_ledger_each_process_has_its_own_and_says_so() -> None:
    app = Celery("shop", broker="memory://")
    with pytest.warns(CeleriacWarning, match="circuit 'gateway': nothing beside this broker"):
        guard = app.circuit(GATEWAY)
    for _ in range(GATEWAY.minimum):
        with pytest.raises(ConnectionError), guard:
            raise DOWN
    with pytest.raises(CircuitOpen), guard:
        raise AssertionError("it was let through")
    assert [one.state for one in app.circuits.list()] == ["open"]


def test_in_a_coroutine(tmp_path: Path) -> None:
    asyncio.run(_in_a_coroutine(tmp_path))


async def _in_a_coroutine(tmp_path: Path) -> None:
    app = app_of(tmp_path)
    for _ in range(GATEWAY.minimum):
        with pytest.raises(ConnectionError):
            async with app.circuit(GATEWAY):
                raise DOWN
    with pytest.raises(CircuitOpen):
        async with app.circuit(GATEWAY):
            raise AssertionError("it was let through")
    app.store.close()


@pytest.mark.parametrize("error", [Snooze(30, "why"), CircuitOpen("gateway", 1_700_000_000.0)])
def test_they_pass_a_pipe(error: Snooze) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.delay) == (type(error), str(error), error.delay)


def test_what_cannot_be_meant_is_refused_where_it_is_said() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        Snooze(-1)
