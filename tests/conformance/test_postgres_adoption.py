"""A copy is adopted while its original settles: PostgreSQL's transactions see each other only at their ends."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from celeriac.core.message import Adoption, Delivery
from celeriac.testing.conformance.harness import LEASE, task
from tests.conformance.postgres import PostgresHarness
from tests.support.waiting import wait_for


@pytest.fixture
def harness(postgres_url: str) -> Iterator[PostgresHarness]:
    opened = PostgresHarness(postgres_url)
    yield opened
    opened.close()


@pytest.mark.parametrize("committed", [True, False])
def test_who_adopts_a_copy_waits_for_the_settle_that_ends_it(harness: PostgresHarness, committed: bool) -> None:
    store = harness.store
    [held] = store.adopt([task("a")], owner="first", lease=LEASE)
    assert isinstance(held, Delivery)
    with closing(psycopg.connect(harness.url)) as settling, ThreadPoolExecutor(1) as threads:
        settling.execute(f"SET search_path TO {harness.schema}".encode())
        settling.execute("DELETE FROM message WHERE task_id = 'a'")
        settling.execute("INSERT INTO task (task_id, generation, closed, state) VALUES ('a', 0, true, 'SUCCESS')")
        copy = threads.submit(harness.open().adopt, [task("a")], owner="second", lease=LEASE)
        with closing(psycopg.connect(harness.url, autocommit=True)) as watcher:
            wait_for(lambda: _waits(watcher, settling.info.backend_pid), 30)
        settling.commit() if committed else settling.rollback()
        assert copy.result(30) == [Adoption.SETTLED if committed else Adoption.HELD]
    assert [size.claimed for size in store.sizes()] == ([] if committed else [1])


def _waits(watcher: psycopg.Connection[tuple[int]], holder: int) -> bool:
    row = watcher.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))", (holder,)
    ).fetchone()
    return row is not None and row[0] > 0
