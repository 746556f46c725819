"""The pruner never holds the write lock for long."""

from __future__ import annotations

from pathlib import Path

import pytest

from celeriac.core.attempt import DeadLetterFilter, Outcome, Record
from celeriac.core.desk import Verb
from celeriac.store.relational import ledger
from celeriac.store.sqlite import SQLiteStore
from celeriac.testing.conformance.harness import ME, claim, part, publish, record, settlement

MANY, AT_ONCE = 50, 10


def _fill(store: SQLiteStore) -> None:
    """More expired rows of every kind than are deleted at once."""
    names = [f"{number}" for number in range(MANY)]
    publish(store, *names)
    store.settle(
        [
            settlement(found, Outcome.DEAD_LETTERED, record=record(found, "FAILURE", expires_at=1.0))
            for found in claim(store)
        ]
    )
    store.revoke(names, keep=-10.0)
    for name in names:
        store.save_group(name, "[]", 1.0)
        store.broadcast("pidbox", "", "[]", name)
        store.record_action(Verb.EXPORTED, ME)
        store.bind("reply", name, "", f"{name}.reply.celery.pidbox")
        store.set_chord_size(name, 1)
        store.add_chord_part(part(name, name))
        store.close_chord(
            name, succeeded=True, messages=[], records=[Record(f"body-{name}", 0, "PENDING", closed=False)]
        )


def test_every_transaction_of_the_pruner_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "PRUNED_AT_ONCE", AT_ONCE)
    store = SQLiteStore(tmp_path / "shop.db")
    _fill(store)
    raw = store.database.writer.raw()
    changes: list[int] = []
    raw.set_trace_callback(lambda text: changes.append(raw.total_changes) if text == "COMMIT" else None)
    before = raw.total_changes
    later = store.now() + 3_600
    total = store.prune(later, attempts_before=later, dead_letters_before=later)
    raw.set_trace_callback(None)
    kinds = 11  # tasks, attempts, letters, unread, acts, revoked, groups, broadcasts, bindings, chords and their parts
    assert total == kinds * MANY
    kinds += 1  # each part of a chord is taken from the chord's count
    assert raw.total_changes - before == kinds * MANY
    steps = [after - earlier for earlier, after in zip([before, *changes], changes, strict=False)]
    assert max(steps) <= kinds * AT_ONCE
    assert store.count_dead_letters(DeadLetterFilter()) == 0
    store.close()
