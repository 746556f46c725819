"""The write-ahead log: bounded by whoever writes, folded by the pruner, and in nobody's way."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from celeriac.store.sqlite import SQLiteStore, log
from celeriac.testing.conformance.harness import claim, publish, task

BODY = "x" * 4_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    opened = SQLiteStore(tmp_path / "shop.db")
    yield opened
    opened.close()


def _grow(store: SQLiteStore, count: int = 1_000) -> None:
    for number in range(count):
        publish(store, task(f"{time.monotonic_ns()}-{number}", body=BODY))


def _reader(store: SQLiteStore) -> sqlite3.Connection:
    """A program of somebody else's that looks at the file and does not let go."""
    raw = sqlite3.connect(store.location, isolation_level=None)
    raw.execute("BEGIN")
    raw.execute("SELECT count(*) FROM message").fetchone()
    return raw


def test_a_small_log_is_left_alone(store: SQLiteStore) -> None:
    publish(store, "a")
    assert store.tidy() is False
    assert store.database.log.size() > 0


def test_a_large_log_is_emptied(store: SQLiteStore) -> None:
    _grow(store, 100)
    assert store.tidy(100_000) is True
    assert store.database.log.size() == 0
    assert store.tidy(0) is False
    assert len(claim(store, limit=1_000)) == 100


def test_a_reader_delays_the_folding_and_nothing_else(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "PRUNERS_TRY", 0.1)
    _grow(store, 10)
    with closing(_reader(store)) as reader:
        _grow(store, 100)
        size = store.database.log.size()
        assert store.tidy(0) is False
        assert store.database.log.size() >= size
        assert reader.execute("SELECT count(*) FROM message").fetchone() == (10,)
        publish(store, "meanwhile")
    assert store.tidy(0) is True
    assert store.database.log.size() == 0
    assert len(claim(store, limit=1_000)) == 111


def test_a_stubborn_reader_does_not_slow_the_writers(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folding is not tried again before the log has doubled."""
    monkeypatch.setattr(log, "WAL_BOUND", 100_000)
    monkeypatch.setattr(log, "COMMITS_A_LOOK", 1)
    tried: list[int] = []
    monkeypatch.setattr(log, "fold", lambda raw, seconds: tried.append(store.database.log.size()))
    monkeypatch.setattr(store.database.log, "_fold_past", 100_000)
    with closing(_reader(store)):
        _grow(store, 500)
    assert 2 <= len(tried) <= 8
    assert all(late > 2 * early for early, late in pairwise(tried))


def test_a_folding_that_fails_costs_no_commit(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "WAL_BOUND", 0)
    monkeypatch.setattr(log, "COMMITS_A_LOOK", 1)
    monkeypatch.setattr(store.database.log, "_fold_past", 0)

    def fail(raw: sqlite3.Connection, seconds: float) -> bool:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(log, "fold", fail)
    publish(store, "a")
    assert len(claim(store)) == 1


def test_writers_on_several_threads_share_one_connection(store: SQLiteStore) -> None:
    threads = [threading.Thread(target=_grow, args=(store, 50)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.size("celery") == 200
