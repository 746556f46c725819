"""The end of a pool of processes: nobody sleeps while there is something to hear, or nobody left to hear of."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from billiard import pool as billiard_pool
from billiard.connection import Pipe
from celery.concurrency import asynpool

from celeriac.worker import draining
from celeriac.worker.begun import Worker
from celeriac.worker.draining import ResultHandler, timers_firing

Said = list[Any]


def never(*_: object) -> None:
    raise AssertionError("it sleeps")


@pytest.fixture
def pipes() -> Iterator[list[tuple[Any, Any]]]:
    """A pipe for each of three processes: their end, and the parent's."""
    made = [tuple(reversed(Pipe(duplex=False))) for _ in range(3)]
    yield made
    for pipe in made:
        for end in pipe:
            end.close()


def handler(pipes: list[tuple[Any, Any]]) -> ResultHandler:
    made = object.__new__(ResultHandler)
    made.fileno_to_outq = {
        parents.fileno(): SimpleNamespace(outq=SimpleNamespace(_reader=parents)) for _, parents in pipes
    }
    made._hub = None
    return made


def look_round(one: ResultHandler) -> Said:
    """What is heard when each process is looked at once."""
    heard: Said = []
    for fd in list(one.fileno_to_outq):
        one._flush_outqueue(fd, never, one.fileno_to_outq, heard.append)
    return heard


def test_who_says_nothing_keeps_nobody_waiting_to_be_heard(
    pipes: list[tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asynpool, "sleep", never)
    monkeypatch.setattr(draining, "LOOK", 3600.0)  # longer than anybody waits, had it to be waited for
    pipes[2][0].send("the end")
    assert look_round(handler(pipes)) == ["the end"]


def test_where_nobody_says_anything_it_is_waited_for_a_moment(
    pipes: list[tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asynpool, "sleep", never)
    before = time.monotonic()
    assert look_round(handler(pipes)) == []
    assert time.monotonic() - before >= draining.LOOK


def test_timers_fire_meanwhile_and_keep_nobody_from_leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    fired: list[int] = []
    acknowledged: list[int] = []
    hub = SimpleNamespace(fire_timers=lambda: fired.append(1))
    monkeypatch.setattr(draining, "_run_ready_callbacks", lambda _: acknowledged.append(1))
    monkeypatch.setattr(draining, "TIMERS", 3600.0)
    monkeypatch.setattr(draining, "PATIENCE", 3600.0)
    with timers_firing(hub):
        while not acknowledged:
            time.sleep(0.001)
    assert (len(fired), len(acknowledged)) == (1, 2)


def test_a_timer_that_raises_is_told_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(draining, "TIMERS", 0.001)
    monkeypatch.setattr(draining, "_run_ready_callbacks", lambda _: None)
    fired: list[int] = []

    def fire() -> None:
        fired.append(1)
        raise ConnectionError("the broker is gone")

    with timers_firing(SimpleNamespace(fire_timers=fire)):
        while len(fired) < 2:
            time.sleep(0.001)
    assert "a timer raised while the pool was drained" in caplog.text


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_process_that_is_told_to_go_goes_at_once_and_says_so_to_its_program() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        billiard_pool.time = SimpleNamespace(sleep=lambda _: os._exit(9))
        worker = object.__new__(Worker)
        worker.outq = SimpleNamespace(put=lambda _: None)
        worker.on_exit = lambda pid, exitcode: os.write(writing, b"%d" % exitcode)
        worker._do_exit(os.getpid(), None)
        os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(writing)
    assert os.read(reading, 9) == b"0"
    os.close(reading)
