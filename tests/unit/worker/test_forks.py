from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from celeriac import Celery
from celeriac.core.message import Delivery
from celeriac.worker import forks
from celeriac.worker.forks import apart_from_forks
from celeriac.worker.maintenance import Maintenance
from celeriac.worker.outboxes import Relaying
from celeriac.worker.relay import Outbox

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no forks"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]


class Step:
    """What a thread does that takes a moment, with a lock in its hand: it lets go of it when a fork waits, or after a while."""

    def __init__(self) -> None:
        self.lock, self.begun = threading.Lock(), threading.Event()

    def __call__(self, *_: object, **__: object) -> bool:
        with self.lock:
            self.begun.set()
            end = time.monotonic() + 0.5
            while time.monotonic() < end and not forks._gate.forks:
                time.sleep(0.001)
        return True

    def is_free_in_a_child(self) -> bool:
        """Fork while the lock is held; whether the child gets it."""
        assert self.begun.wait(30)
        child = os.fork()
        if not child:
            os._exit(0 if self.lock.acquire(timeout=0.2) else 1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("shop", broker="redis://localhost:1/0", ledger=f"sqlite:///{tmp_path}/ledger.db", set_as_current=False)
    app.conf.celeriac_maintenance_seconds = 0.1
    yield app
    app.store.close()


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def begin(stop: threading.Event) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Runs a function in a thread, which is told to end before the test does."""
    threads: list[threading.Thread] = []

    def begin(target: Callable[[], None]) -> None:
        threads.append(threading.Thread(target=target, daemon=True))
        threads[-1].start()

    yield begin
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def step() -> Step:
    return Step()


def test_a_fork_waits_for_the_end_of_a_step(begin: Any, step: Step) -> None:
    def run() -> None:
        with apart_from_forks():
            step()

    begin(run)
    assert step.is_free_in_a_child()


def test_a_fork_does_not_wait_for_ever(begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "PATIENCE", 0.05)
    inside, over = threading.Event(), threading.Event()

    def run() -> None:
        with apart_from_forks():
            inside.set()
            over.wait(30)

    begin(run)
    assert inside.wait(30)
    child = os.fork()
    if not child:
        with apart_from_forks():  # nobody is in there any more
            os._exit(7)
    over.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_step_begins_when_the_fork_is_over(begin: Any) -> None:
    done = threading.Event()

    def run() -> None:
        with apart_from_forks():
            done.set()

    forks._before_fork()
    begin(run)
    assert not done.wait(0.1)
    forks._after_fork_in_parent()
    assert done.wait(30)


def test_the_relay_gives_nothing_to_the_broker_during_a_fork(
    app: Celery, begin: Any, stop: threading.Event, step: Step
) -> None:
    """A connection to RabbitMQ is made with the lock of a module in hand: a child of that moment could make none."""
    outbox = Outbox(app, stop)
    outbox._broker = SimpleNamespace(errors=(OSError,), publish=step, close=lambda: None)  # type: ignore[assignment]
    app.send_task("charge", task_id="a")
    begin(outbox.run)
    assert step.is_free_in_a_child()


def test_the_relay_looks_at_no_queue_during_a_fork(app: Celery, begin: Any, step: Step) -> None:
    outbox = Outbox(app, threading.Event())
    given: list[Delivery] = []
    broker = SimpleNamespace(errors=(OSError,), publish=given.append, is_empty=step, close=lambda: None)
    outbox._broker = broker  # type: ignore[assignment]
    app.send_task("charge", task_id="a")
    outbox.relay(app.store)
    begin(lambda: outbox._look_for_lost(app.store.keeper()))
    assert step.is_free_in_a_child()


def test_no_outbox_is_emptied_during_a_fork(begin: Any, stop: threading.Event, step: Step) -> None:
    outside = SimpleNamespace(wait=time.sleep, close=lambda: None)
    begin(Relaying(SimpleNamespace(once=step, outside=outside), stop).run)  # type: ignore[arg-type]
    assert step.is_free_in_a_child()


def test_nothing_is_maintained_during_a_fork(
    app: Celery, begin: Any, stop: threading.Event, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    maintenance = Maintenance.__new__(Maintenance)
    maintenance._stop = stop
    monkeypatch.setattr(maintenance, "_round", step)
    begin(lambda: maintenance._run(app))
    assert step.is_free_in_a_child()
