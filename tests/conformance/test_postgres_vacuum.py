"""Deleted rows do not pile up in the table of what waits; where they must, the warning names who is in the way."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest

from celeriac.core.attempt import Outcome
from celeriac.core.limits import Bound, Rule, pack
from celeriac.store.postgres import PostgresStore, vacuum
from celeriac.testing.conformance.harness import claim, publish, record, settlement, task
from tests.conformance.postgres import PostgresHarness
from tests.support import wait_for
from tests.support.own_postgres import Server

MANY = 300


@pytest.fixture
def postgres_url(own_server: Server) -> str:
    return own_server.url


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vacuum, "MANY", MANY)
    monkeypatch.setattr(vacuum, "IN_VAIN", 0.0)


@pytest.fixture
def store(harness: PostgresHarness, few_are_many: None) -> PostgresStore:
    opened = harness.open()
    # The server's own vacuum would do it first, or not, as it likes.
    with opened.database.writing() as session:
        session.raw.execute("ALTER TABLE message SET (autovacuum_enabled = false)")
    return opened


def churn(store: PostgresStore, tasks: int = MANY, rounds: int = 1) -> None:
    for _ in range(rounds):
        publish(store, *(f"t{number}-{time.monotonic_ns()}" for number in range(tasks)))
        while taken := claim(store, limit=100):
            store.settle([settlement(item, Outcome.COMPLETED, record=record(item, "SUCCESS")) for item in taken])


def pages(store: PostgresStore) -> int:
    with store.database.reading() as session:
        row = session.raw.execute("SELECT pg_relation_size('message') / 8192").fetchone()
    assert row is not None
    return int(row[0])


def known(store: PostgresStore, dead: Callable[[int], bool]) -> None:
    """Processes tell the server about their rows once a second."""
    wait_for(lambda: dead(store._vacuum._dead("message")[0]), 30)


def test_a_table_that_is_churned_stays_as_large_as_it_was(store: PostgresStore) -> None:
    sizes = []
    for _ in range(6):
        churn(store)
        known(store, lambda dead: dead >= MANY)
        assert store.tidy() is True
        sizes.append(pages(store))
        known(store, lambda dead: dead < MANY)
    assert store.tidy() is False, "there was nothing to do"
    assert sizes[-1] <= sizes[0] * 1.5, sizes


def test_a_transaction_that_is_in_the_way_is_named(
    harness: PostgresHarness, store: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with closing(psycopg.connect(harness.url, application_name="report of the year")) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1")
        churn(store)
        known(store, lambda dead: dead >= MANY)
        assert store.tidy() is False
        assert store.tidy() is False
        pid = other.info.backend_pid
    (warning,) = [line.getMessage() for line in caplog.records if "pile up" in line.getMessage()]
    assert f"process {pid} (application 'report of the year', idle in transaction, open for " in warning
    assert store.location in warning
    assert re.search(rf"pg_terminate_backend\({pid}\)", warning)
    wait_for(store.tidy, 30, "it is gone, and what it held is not")


def test_a_prepared_transaction_is_named(
    harness: PostgresHarness, store: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with closing(psycopg.connect(harness.url, autocommit=True)) as other:
        name = harness.schema
        other.execute("BEGIN")
        other.execute(f'CREATE TABLE "{harness.schema}".held (x int)')
        other.execute(f"PREPARE TRANSACTION '{name}'")
        try:
            churn(store)
            known(store, lambda dead: dead >= MANY)
            assert store.tidy() is False
        finally:
            other.execute(f"ROLLBACK PREPARED '{name}'")
    assert f"prepared transaction {name} (" in caplog.text


def test_in_vain_it_is_not_tried_at_every_look(
    harness: PostgresHarness, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vacuum, "IN_VAIN", 3600.0)
    with closing(psycopg.connect(harness.url)) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1")
        churn(store)
        known(store, lambda dead: dead >= MANY)
        assert store.tidy() is False
    assert store.tidy() is False, "it scans the whole table each time"


def test_publishing_goes_on_meanwhile(harness: PostgresHarness, store: PostgresStore) -> None:
    """A vacuum that waits for a lock, or holds one, would stop them."""
    churn(store)
    known(store, lambda dead: dead >= MANY)
    with closing(psycopg.connect(harness.url)) as other:
        other.execute(f'LOCK TABLE "{harness.schema}".message IN SHARE UPDATE EXCLUSIVE MODE')
        began = time.monotonic()
        store.tidy()
        publish(store, "meanwhile")
        assert time.monotonic() - began < store.database.timeout, "it waited for another vacuum's lock"


def test_the_small_tables_of_limits_do_not_grow(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vacuum, "FEW", 100)
    with store.database.writing() as session:
        session.raw.execute("ALTER TABLE lane_entered SET (autovacuum_enabled = false)")
    for turn in range(6):
        limits = [pack([Bound("charge", f"{turn}-{number}", Rule(slots=1))]) for number in range(400)]
        publish(store, *(task(f"t{turn}-{number}", limits=each) for number, each in enumerate(limits)))
        while taken := claim(store, limit=100):
            store.settle([settlement(item, Outcome.COMPLETED, record=record(item, "SUCCESS")) for item in taken])
        # What the server counts as dead it learns some moments after the commit.
        wait_for(lambda: store.tidy() or vacuum_of(store, "lane_entered") == 0, 20, "nothing was vacuumed")
    with store.database.reading() as session:
        [(size,)] = session.raw.execute("SELECT pg_relation_size('lane_entered')").fetchall()
    assert size < 200_000


def vacuum_of(store: PostgresStore, table: str) -> int:
    return store._vacuum._dead(table)[0]
