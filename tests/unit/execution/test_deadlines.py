"""What the watcher of time limits raises, and where: in the body, and nowhere else."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from celeriac.core.attempt import Attempt
from celeriac.core.message import DeliveryFacts, Lease
from celeriac.execution import deadlines
from celeriac.execution.deadlines import Deadlines, body_over
from celeriac.execution.limits import limit_text
from tests.support import wait_for


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "LOOK", 0.01)
    monkeypatch.setattr(deadlines, "IDLE", 0.05)
    monkeypatch.setattr(deadlines, "STUCK", 0.05)


def attempt() -> Attempt:
    return Attempt("id", "name", DeliveryFacts(Lease(1, 1)), "worker", 0.0, entered=True)


def never(_: float) -> None:
    raise AssertionError


def _never_ends() -> None:
    while True:
        time.sleep(0.001)


def ended(watcher: Deadlines) -> bool:
    return not watcher._watching


def test_a_thread_is_interrupted_in_its_body() -> None:
    watcher, run = Deadlines("thread", lambda: None), attempt()
    watched = watcher.watch(run, (None, 0.02), never)
    with pytest.raises(SoftTimeLimitExceeded):
        _never_ends()
    watcher.end(watched)
    wait_for(lambda: ended(watcher), 10)


def test_what_was_to_be_raised_and_has_not_been_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[type[Exception] | None] = []
    monkeypatch.setattr(deadlines, "_raise_in", lambda _thread, error: asked.append(error))
    watcher, run = Deadlines("thread", lambda: None), attempt()
    watched = watcher.watch(run, (None, 0.02), never)
    wait_for(lambda: asked == [SoftTimeLimitExceeded], 10)
    body_over(run)
    assert asked == [SoftTimeLimitExceeded, None]
    assert watched.pending is None
    body_over(run)
    assert len(asked) == 2
    watcher.end(watched)


def test_after_its_body_nothing_is_raised() -> None:
    watcher, run = Deadlines("thread", lambda: None), attempt()
    watched = watcher.watch(run, (0.02, 0.01), never)
    body_over(run)
    wait_for(lambda: watched.softly, 10)
    time.sleep(0.05)
    watcher.end(watched)
    wait_for(lambda: ended(watcher), 10)


def test_a_stuck_worker_of_one_thread_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGALRM)
    ends = threading.Event()
    settled: list[float] = []
    watcher, run = Deadlines("solo", ends.set), attempt()
    monkeypatch.setattr(watcher, "_interrupt", lambda *_: None)  # in vain
    watched = watcher.watch(run, (0.02, None), settled.append)
    assert ends.wait(10)
    assert settled == [0.02]
    watcher.end(watched)
    signal.signal(signal.SIGALRM, before)


def test_another_watcher_starts_when_the_first_has_ended() -> None:
    watcher = Deadlines("thread", lambda: None)
    for _ in range(2):
        run = attempt()
        watched = watcher.watch(run, (None, 100.0), never)
        watcher.end(watched)
        wait_for(lambda: ended(watcher), 10)
        test_a_thread_is_interrupted_in_its_body()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "the soft time limit was exceeded"),
        (0.5, "the soft time limit of 0.5 s was exceeded"),
        (1740.0, "the soft time limit of 1740 s was exceeded; what takes so long is better split into tasks, or goes"),
    ],
)
def test_a_long_limit_says_what_to_do_instead(seconds: float | None, said: str) -> None:
    assert limit_text("soft", seconds).startswith(said)
