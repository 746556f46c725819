"""Processes that find an empty database at the same moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib import import_module

import psycopg
import pytest
from psycopg import sql

from celeriac.core.attempt import DeadLetterFilter
from celeriac.core.fingerprints import fingerprint
from celeriac.store.postgres.migrate import lock_name
from tests.conformance.postgres import PostgresHarness
from tests.support.waiting import wait_for

#: The package has a function of the module's name.
migrate = import_module("celeriac.store.postgres.migrate")
TOGETHER = 4


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


def test_the_room_on_a_page_is_changed_while_somebody_writes(
    harness: PostgresHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third migration must not wait for a publish that is under way, nor hold one up."""
    steps = migrate.MIGRATIONS
    monkeypatch.setattr(migrate, "MIGRATIONS", steps[:2])
    harness.open()
    table = sql.Identifier(harness.schema, "message")
    columns = sql.SQL(
        "(sent_at, status, priority, generation, queue, envelope, body) VALUES (0, 0, 0, 0, 'q', '[]', 't')"
    )
    monkeypatch.setattr(migrate, "MIGRATIONS", steps[:3])
    with closing(psycopg.connect(harness.url)) as writer:
        writer.execute(sql.SQL("INSERT INTO {} {}").format(table, columns))
        harness.open()  # and does not wait
        options = writer.execute("SELECT reloptions FROM pg_class WHERE oid = %s::regclass", (table.as_string(writer),))
        assert "fillfactor=100" in options.fetchall()[0][0]
        writer.rollback()


def test_a_change_of_tables_waits_for_who_works_with_them_and_holds_up_nobody_meanwhile(
    harness: PostgresHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older version's worker goes on burying tasks while a newer one's changes the table that it buries them in."""
    with monkeypatch.context() as older:
        older.setattr(migrate, "MIGRATIONS", migrate.MIGRATIONS[:2])
        harness.open()
    monkeypatch.setattr(migrate, "LOCK_PATIENCE", 0.2)
    bury = f"""INSERT INTO {harness.schema}.dead_letter (task_id, generation, queue, priority, reason, error_type, error, failed_at,
               envelope, body) VALUES ('a', 0, 'celery', 0, 'permanent', 'ValueError', 'no', 1, '[]', 't[]')"""
    with closing(psycopg.connect(harness.url)) as holder, ThreadPoolExecutor(1) as threads:
        holder.execute(bury)
        opening = threads.submit(harness.open)
        with closing(psycopg.connect(harness.url, autocommit=True)) as worker:
            wait_for(lambda: _waiting(worker, holder.info.backend_pid), 30, message="it tries to change the table")
            worker.execute("SET statement_timeout = '20s'")
            worker.execute(bury)
            assert not opening.done()
            wait_for(lambda: not _waiting(worker, holder.info.backend_pid), 30, message="it gives way")
            worker.execute(bury)
        holder.commit()
        store = opening.result(60)
    letters = list(store.dead_letters(DeadLetterFilter()))
    assert [letter.fingerprint for letter in letters] == [None] * 3
    [group] = store.error_groups(DeadLetterFilter())
    assert (group.fingerprint, group.count) == (fingerprint("ValueError", "no"), 3), (
        "what an older version wrote is grouped"
    )
