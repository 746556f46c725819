"""Pruning on PostgreSQL: nobody waits for it, it waits for nobody, and it takes nothing that has come back to life."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from psycopg import sql

from celeriac.core.attempt import Outcome, Record
from celeriac.core.message import IdempotencyKey
from celeriac.store.postgres import PostgresStore
from celeriac.store.postgres.session import STATEMENTS
from celeriac.store.relational import ledger
from celeriac.testing.conformance.harness import claim, publish, record, settlement
from tests.conformance.postgres import PostgresHarness

AT_ONCE = 10
KEY = IdempotencyKey("shop.charge", "order-7", "digest", 60.0)


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "PRUNED_AT_ONCE", AT_ONCE)


def ended(store: PostgresStore, count: int, *, expires_at: float, outcome: Outcome = Outcome.COMPLETED) -> list[str]:
    names = [f"t{number}" for number in range(count)]
    publish(store, *names)
    state = "SUCCESS" if outcome is Outcome.COMPLETED else "FAILURE"
    while taken := claim(store, limit=100):
        store.settle([settlement(item, outcome, record=record(item, state, expires_at=expires_at)) for item in taken])
    return names


def prune(store: PostgresStore) -> int:
    return store.prune(store.now(), attempts_before=store.now(), dead_letters_before=None)


@pytest.fixture
def beside(harness: PostgresHarness) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Somebody else on the schema, in a transaction."""
    harness.open()
    with closing(psycopg.connect(harness.url)) as raw:
        raw.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(harness.schema)))
        raw.commit()
        raw.execute("SET lock_timeout = '5s'")
        yield raw


def test_all_slices_together_take_all(harness: PostgresHarness, small_slices: None) -> None:
    store = harness.open()
    ended(store, 5 * AT_ONCE + 3, expires_at=1.0, outcome=Outcome.FAILED)
    assert prune(store) == 3 * (5 * AT_ONCE + 3)  # records, attempts, failures that nobody has read
    assert prune(store) == 0


def test_rows_that_somebody_holds_are_left_for_later(
    harness: PostgresHarness, small_slices: None, beside: psycopg.Connection[tuple[object, ...]]
) -> None:
    store = harness.open()
    names = ended(store, 3 * AT_ONCE, expires_at=1.0)
    beside.execute("SELECT 1 FROM task WHERE task_id = ANY (%s) FOR UPDATE", (names[:5],))
    began = time.monotonic()
    assert prune(store) == 3 * AT_ONCE - 5
    assert time.monotonic() - began < store.database.timeout, "it waited"
    beside.rollback()
    assert prune(store) == 5


def test_one_prunes_at_a_time(harness: PostgresHarness, beside: psycopg.Connection[tuple[object, ...]]) -> None:
    store = harness.open()
    ended(store, 3, expires_at=1.0)
    beside.execute("SELECT pg_advisory_xact_lock(hashtextextended(current_schema(), 11))")
    assert prune(store) == 0
    beside.rollback()
    assert prune(store) == 3


def test_a_publish_waits_for_no_slice(harness: PostgresHarness, beside: psycopg.Connection[tuple[object, ...]]) -> None:
    """The slice is in the middle of its transaction: what it has deleted is published again."""
    store = harness.open()
    names = ended(store, 3, expires_at=1.0)
    text = STATEMENTS["ledger.prune_tasks"][0]
    cursor = psycopg.RawCursor(beside)
    deleted, *_ = cursor.execute(text, (store.now(), 100, 0.0)).fetchone() or (0,)
    assert deleted == 3
    began = time.monotonic()
    publish(store, *names)
    assert time.monotonic() - began < 2.0, "it waited for the slice"
    beside.rollback()
    assert sum(size.ready for size in store.sizes()) == 3


def test_a_key_that_is_taken_again_meanwhile_stays(
    harness: PostgresHarness, beside: psycopg.Connection[tuple[object, ...]]
) -> None:
    """It had expired when the slice began; who published under it has committed when the slice gets there."""
    store = harness.open()
    beside.execute(
        "INSERT INTO idempotency_key (key, task_id, digest, ttl, done, expires_at) VALUES ('k', 'old', '', 1, 1, 1)"
    )
    beside.commit()
    beside.execute("UPDATE idempotency_key SET task_id = 'new', done = 0, expires_at = NULL WHERE key = 'k'")
    pruning = threading.Thread(target=prune, args=(store,))
    pruning.start()
    time.sleep(0.5)  # a slice that waits for the row would be waiting now
    beside.commit()
    pruning.join(30)
    assert beside.execute("SELECT task_id FROM idempotency_key").fetchall() == [("new",)]


def test_a_task_that_ends_again_meanwhile_keeps_its_record(
    harness: PostgresHarness, beside: psycopg.Connection[tuple[object, ...]]
) -> None:
    store = harness.open()
    ended(store, 1, expires_at=1.0)
    beside.execute("UPDATE task SET generation = 1, expires_at = 9e9")
    pruning = threading.Thread(target=prune, args=(store,))
    pruning.start()
    time.sleep(0.5)
    beside.commit()
    pruning.join(30)
    found = store.records(["t0"])["t0"]
    assert isinstance(found, Record)
    assert found.generation == 1


def test_slices_do_not_wade_through_what_others_deleted(
    harness: PostgresHarness, small_slices: None, beside: psycopg.Connection[tuple[object, ...]]
) -> None:
    """A transaction elsewhere keeps vacuum from the index: the last slice looks at as little as the first."""
    store = harness.open()
    with harness.open().database.writing() as session:
        session.raw.execute(
            "INSERT INTO task (task_id, generation, closed, state, expires_at)"
            " SELECT 'x' || i, 0, true, 'SUCCESS', i FROM generate_series(1, 3000) AS i"
        )
        session.raw.execute("SET LOCAL enable_seqscan = off")
    beside.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    beside.execute("SELECT count(*) FROM task")
    before = _index_reads(harness)
    assert prune(store) == 3000
    # Each slice begins where the one before ended; from the front it would be 300 times half of them.
    assert _index_reads(harness) - before < 3000 * 20


def _index_reads(harness: PostgresHarness) -> int:
    """Entries that scans of the index over the end of tasks returned, dead ones included."""
    with closing(psycopg.connect(harness.url, autocommit=True)) as raw:
        time.sleep(1.5)  # a process reports what it has read once a second
        row = raw.execute(
            "SELECT idx_tup_read FROM pg_stat_all_indexes WHERE schemaname = %s AND indexrelname = 'task_expiry'",
            (harness.schema,),
        ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("spared", [3 * AT_ONCE])
def test_attempts_that_are_spared_are_passed(harness: PostgresHarness, small_slices: None, spared: int) -> None:
    """More of one instant than a slice holds, and others behind them."""
    store = harness.open()
    with store.database.writing() as session:
        session.raw.execute(
            "INSERT INTO dead_letter (task_id, generation, queue, priority, reason, error_type, error, failed_at, envelope,"
            " body) SELECT 'x' || i, 0, 'q', 0, '', '', '', 5, '[]', '' FROM generate_series(1, %s) AS i",
            (spared,),
        )
        session.raw.execute(
            "INSERT INTO attempt (task_id, generation, finished_at, outcome)"
            " SELECT 'x' || i, 0, CASE WHEN i > %s THEN 6 ELSE 5 END, 'failed' FROM generate_series(1, %s) AS i",
            (spared, spared + 15),
        )
    assert prune(store) == 15
    assert len(store.attempts("x1")) == 1
    with store.database.writing() as session:
        session.raw.execute("DELETE FROM dead_letter")
    harness.pass_time(300)
    for _ in range(spared):  # those of one instant that a slice did not hold are found by the next rounds
        prune(store)
        harness.pass_time(300)
    assert store.attempts("x1") == []
