"""Waiting for commits: by events where they come, by looks where they do not."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.store import events as events_module
from celeriac.store.events import FileEvents
from celeriac.store.sqlite import SQLiteStore, commits
from celeriac.testing.conformance.harness import publish
from tests.support import wait_for

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")
#: Seconds that nobody in here waits.
NEVER = 60.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    opened = SQLiteStore(path)
    yield opened
    opened.close()


@pytest.fixture
def other(path: Path, store: SQLiteStore) -> Iterator[SQLiteStore]:
    opened = SQLiteStore(path)
    yield opened
    opened.close()


def _woken(store: SQLiteStore, other: SQLiteStore, name: str = "a") -> bool:
    """Whether a commit ends the wait of ``store`` long before its time-out."""
    mark = store.mark()
    timer = threading.Timer(0.2, publish, (other, name))
    timer.start()
    begun = time.monotonic()
    woken = store.wait(NEVER, mark) != mark
    timer.join()
    return woken and time.monotonic() - begun < NEVER / 2


def test_an_event_wakes_without_any_look(
    store: SQLiteStore, other: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "BACKSTOP", NEVER)
    monkeypatch.setattr(commits, "IDLE_LOOK", NEVER)
    assert all(_woken(store, other, f"{number}") for number in range(3))


def test_looks_are_few_while_events_come(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    mark = store._commits.mark

    def looked() -> int:
        looks.append(time.monotonic())
        return mark()

    monkeypatch.setattr(store._commits, "mark", looked)
    store.wait(1.0, mark())
    assert len(looks) <= 1.0 / commits.BACKSTOP + 3


def test_a_log_that_is_written_before_the_commit_shows_is_looked_at_again(
    store: SQLiteStore, other: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With synchronous=full the commit shows when the disk has said so."""
    monkeypatch.setattr(commits, "BACKSTOP", NEVER)
    mark = store.mark()
    shown = threading.Event()
    true_mark = store._commits.mark
    monkeypatch.setattr(store._commits, "mark", lambda: true_mark() if shown.is_set() else mark)
    written, shows = threading.Timer(0.3, publish, (other, "a")), threading.Timer(0.35, shown.set)
    written.start()
    shows.start()
    begun = time.monotonic()
    assert store.wait(NEVER, mark) != mark
    assert time.monotonic() - begun < NEVER / 2
    written.join()
    shows.join()


class _Deaf(FileEvents):
    def take(self) -> bool:
        return False

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


def test_where_no_events_come_it_looks(
    path: Path, other: SQLiteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(FileEvents, "of", lambda _: _Deaf(-1))
    store = SQLiteStore(path)
    with caplog.at_level("INFO"):
        for number in range(commits.UNTOLD):
            assert _woken(store, other, f"{number}")
    assert "no events come of" in caplog.text
    monkeypatch.setattr(commits, "BACKSTOP", NEVER)
    assert _woken(store, other, "later")
    store.close()


def test_where_the_system_has_none_left_it_looks(
    path: Path, other: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exhausted:
        def inotify_init1(self, flags: int) -> int:
            return -1

    monkeypatch.setattr(events_module, "_libc", Exhausted)
    store = SQLiteStore(path)
    store.mark()
    assert store._commits._connection.events is None
    assert _woken(store, other)
    store.close()


def test_all_who_wait_are_woken(store: SQLiteStore, other: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "BACKSTOP", NEVER)
    mark = store.mark()
    woken: list[int] = []
    threads = [threading.Thread(target=lambda: woken.append(store.wait(NEVER, mark))) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    publish(other, "a")
    for thread in threads:
        thread.join(NEVER / 2)
    assert len(woken) == 8
    assert mark not in woken


def test_a_process_and_its_child_are_both_woken(store: SQLiteStore, other: SQLiteStore) -> None:
    """A child that read its parent's events would take them."""
    store.mark()
    child = os.fork()
    if child == 0:
        mark = store.mark()
        os._exit(0 if store.wait(NEVER, mark) != mark else 1)
    assert all(_woken(store, other, f"{number}") for number in range(3))
    codes: list[int] = []

    def ended() -> bool:
        publish(other, f"{len(codes)}-{time.monotonic_ns()}")
        pid, status = os.waitpid(child, os.WNOHANG)
        codes.append(os.waitstatus_to_exitcode(status) if pid else -1)
        return bool(pid)

    wait_for(ended, 30, "the child is not woken")
    assert codes[-1] == 0


def test_a_fork_while_somebody_waits_leaves_it_waiting(store: SQLiteStore, other: SQLiteStore) -> None:
    mark = store.mark()
    woken: list[int] = []
    waiter = threading.Thread(target=lambda: woken.append(store.wait(NEVER, mark)))
    waiter.start()
    time.sleep(0.1)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    publish(other, "a")
    waiter.join(NEVER / 2)
    assert woken
    assert woken[0] != mark


def test_what_is_closed_leaves_nothing_open(path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(5):
        store = SQLiteStore(path)
        mark = store.mark()
        publish(store, f"{number}")
        assert store.wait(1.0, mark) != mark
        store.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
