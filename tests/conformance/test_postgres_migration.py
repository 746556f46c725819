"""Processes that find an empty database at the same moment."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest
from psycopg import sql

from celeriac.store.postgres.migrate import lock_name
from celeriac.testing.conformance.harness import task
from tests.conformance.postgres import PostgresHarness
from tests.support.waiting import wait_for

TOGETHER = 4


@pytest.fixture
def harness(postgres_url: str) -> Iterator[PostgresHarness]:
    opened = PostgresHarness(postgres_url)
    yield opened
    opened.close()


def test_the_first_to_come_makes_the_tables_and_the_others_find_them(harness: PostgresHarness) -> None:
    with closing(psycopg.connect(harness.url)) as holder, ThreadPoolExecutor(TOGETHER) as threads:
        holder.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (lock_name(harness.schema),))
        opening = [threads.submit(harness.open) for _ in range(TOGETHER)]
        with closing(psycopg.connect(harness.url, autocommit=True)) as watcher:
            wait_for(lambda: _waiting(watcher, holder.info.backend_pid) == TOGETHER, 30)
        holder.rollback()
        stores = [future.result(30) for future in opening]
    assert len({store.uuid for store in stores}) == 1


def _waiting(watcher: psycopg.Connection[tuple[int]], holder: int) -> int:
    """How many wait for the holder, or for one who does."""
    row = watcher.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))", (holder,)
    ).fetchone()
    assert row is not None
    return row[0]


def test_tables_are_brought_up_while_somebody_writes(harness: PostgresHarness) -> None:
    """Of a schema with one migration to go: what it changes must not wait for a publish that is under way, nor hold one up."""
    harness.open()
    table = sql.Identifier(harness.schema, "message")
    with closing(psycopg.connect(harness.url, autocommit=True)) as raw:
        raw.execute(sql.SQL("ALTER TABLE {} SET (fillfactor = 70)").format(table))
        raw.execute(
            sql.SQL("UPDATE {} SET value = '2' WHERE name = 'version'").format(sql.Identifier(harness.schema, "fact"))
        )
    columns = sql.SQL(
        "(sent_at, status, priority, generation, queue, envelope, body) VALUES (0, 0, 0, 0, 'q', '[]', 't')"
    )
    with closing(psycopg.connect(harness.url)) as writer:
        writer.execute(sql.SQL("INSERT INTO {} {}").format(table, columns))
        store = harness.open()  # and does not wait
        assert len(store.publish([task("a")])) == 1
        options = writer.execute("SELECT reloptions FROM pg_class WHERE oid = %s::regclass", (table.as_string(writer),))
        assert "fillfactor=100" in options.fetchall()[0][0]
        writer.rollback()
