"""Rates of keys that nobody uses any more are forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from celeriac.core.limits import Bound, Rule, pack
from celeriac.store import clock
from celeriac.store.relational import limits
from celeriac.store.sqlite import SQLiteStore
from celeriac.testing.conformance.harness import claim, publish, task


def test_rates_whose_next_start_was_due_are_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PRUNED_AT_ONCE", 3)
    store = SQLiteStore(tmp_path / "shop.db")
    for number in range(8):
        bound = Bound("API", str(number), Rule(every=0.01 if number else 1e6))
        publish(store, task(str(number), limits=pack([bound])))
    assert len(claim(store)) == 8
    monkeypatch.setattr(store.database, "lease_now", lambda: clock.lease_now() + 60)
    store.prune(store.now(), attempts_before=0.0, dead_letters_before=None)
    with store.database.reading() as raw:
        assert raw.execute("SELECT bucket FROM rate").fetchall() == [("API\x1f0",)]
    store.close()
