"""A claim that has to wait for another process's transaction."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from celeriac.store.sqlite import SQLiteStore, database
from celeriac.testing.conformance.harness import QUEUE, publish, task

LEASE = 60.0
Take = Callable[[SQLiteStore], Any]


@pytest.mark.parametrize(
    ("waiting", "take"),
    [
        (True, lambda store: store.claim([QUEUE], 1, owner="w", lease=LEASE)),
        (False, lambda store: store.adopt([task("a")], owner="w", lease=LEASE)),
        (True, lambda store: store.take_for_relay(1, LEASE)),
    ],
    ids=["claim", "adopt", "take_for_relay"],
)
def test_its_lease_begins_when_it_has_waited(
    waiting: bool, take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a store that was locked for as long as a lease hands out leases that are over."""
    path, waits, insist = tmp_path / "shop.db", threading.Event(), database._insist

    def noting(raw: Any, statement: str, seconds: float) -> None:
        waits.set()
        insist(raw, statement, seconds)

    with closing(SQLiteStore(path)) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        publish(store, *(["a"] if waiting else []))
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(database, "_insist", noting)
        taken: list[Any] = []
        thread = threading.Thread(target=lambda: taken.extend(take(store)))
        thread.start()
        assert waits.wait(30)
        free = store.lease_now()
        other.execute("ROLLBACK")
        thread.join()
        (until,) = other.execute("SELECT lease_until FROM message").fetchone()
    assert until >= free + LEASE
    assert taken[0].claimed_at >= free
