"""A copy is adopted while its original settles: PostgreSQL's transactions see each other only at their ends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from celeriac.core.message import Adoption, Delivery
from celeriac.testing.conformance.harness import LEASE, task
from tests.conformance.postgres import PostgresHarness
from tests.support.waiting import wait_for


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


def test_two_who_adopt_the_same_in_another_order_do_not_wait_for_each_other(harness: PostgresHarness) -> None:
    """Both are held up in the middle: one that has taken ``a`` by then, and one that has taken ``b``, would never end."""
    assert harness.store.sizes() == []
    with closing(psycopg.connect(harness.url)) as holder, ThreadPoolExecutor(2) as threads:
        holder.execute(f"SET search_path TO {harness.schema}".encode())
        columns = "(sent_at, status, priority, generation, queue, task_id, envelope, body)"
        for name in ("x", "y"):
            values = f"(0, 0, 0, 0, 'q', '{name}', '[]', 't')"
            holder.execute(f"INSERT INTO message {columns} VALUES {values}".encode())
        adopting = [
            threads.submit(harness.open().adopt, [task(name) for name in names], owner=names, lease=LEASE)
            for names in ("axb", "bya")
        ]
        with closing(psycopg.connect(harness.url, autocommit=True)) as watcher:
            wait_for(lambda: _held_up(watcher, holder.info.backend_pid) == 2, 30)
        holder.rollback()
        answers = [answer for future in adopting for answer in future.result(30)]
    assert sorted(type(answer).__name__ for answer in answers) == ["Adoption"] * 2 + ["Delivery"] * 4


def _held_up(watcher: psycopg.Connection[tuple[int]], holder: int) -> int:
    """How many wait for the holder, or for one who does."""
    row = watcher.execute(
        "WITH RECURSIVE held AS (SELECT pid FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
        " UNION SELECT other.pid FROM pg_stat_activity AS other, held WHERE held.pid = ANY (pg_blocking_pids(other.pid)))"
        " SELECT count(*) FROM held",
        (holder,),
    ).fetchone()
    assert row is not None
    return int(row[0])


def _waits(watcher: psycopg.Connection[tuple[int]], holder: int) -> bool:
    row = watcher.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))", (holder,)
    ).fetchone()
    return row is not None and row[0] > 0
