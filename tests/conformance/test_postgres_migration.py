"""Processes that find an empty database at the same moment."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from celeriac.store.postgres.migrate import lock_name
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
