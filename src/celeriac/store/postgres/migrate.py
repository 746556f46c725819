"""The schema's version, and how a database gets there."""

from __future__ import annotations

import time
import uuid

import psycopg
from psycopg import sql

from celeriac.errors import StoreError, StoreTooNew, StoreUnavailable
from celeriac.store.postgres.database import Database
from celeriac.store.postgres.session import Session
from celeriac.store.sql import script

#: One script a version, in order; the row ``version`` of ``fact`` says how many ran.
MIGRATIONS = (
    "001_initial",
    "002_relayed",
    "003_dense",
    "004_limits",
    "005_desk",
    "006_circuits",
    "007_pauses",
    "008_workflows",
    "009_checkpoints",
    "010_chains",
    "011_joins",
    "012_plans",
    "013_kept_workflows",
)
#: ``MATERIALIZED`` is of 12; 13 is the oldest that is tried.
OLDEST = 130_000
#: Seconds that a change waits for a table, and others behind it; seconds until it tries again, and after which it gives up.
LOCK_PATIENCE, PAUSE, PATIENCE = 1.0, 0.5, 60.0


def migrate(database: Database) -> None:
    """Bring the schema to this version's tables; one process does, others wait.

    Raises:
        StoreTooNew: a newer celeriac wrote it.
        StoreError: the server is too old, or the schema may not be made.
    """
    with database.reading() as session:
        version = session.raw.info.server_version
        if version < OLDEST:
            raise StoreError(database.location, f"PostgreSQL {version // 10_000} answers; 13 or newer is needed")
        if _version(session, database) == len(MIGRATIONS):
            return
    until = time.monotonic() + PATIENCE
    while not _migrated(database, last=time.monotonic() > until):
        time.sleep(PAUSE)


def _migrated(database: Database, *, last: bool) -> bool:
    """Change the tables in one transaction; false where somebody works with one of them, and it is not the last try.

    A change waits for every transaction that has looked at the table, and whoever comes after that waits for the change: so
    it gives way, and tries again.
    """
    try:
        _run_missing(database)
    except StoreUnavailable as error:
        if last or not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            raise
        return False
    return True


def _run_missing(database: Database) -> None:
    with database.writing() as session:
        session.raw.execute(f"SET LOCAL lock_timeout = {round(LOCK_PATIENCE * 1000)}")
        session.raw.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (lock_name(database.schema),))
        # Another process may have been faster.
        for name in MIGRATIONS[_version(session, database) :]:
            _run(session, database, name)


def lock_name(schema: str) -> str:
    """Names the lock of whoever changes the tables of one schema: others in the same database have nothing to wait for."""
    return f"celeriac schema {schema}"


def _version(session: Session, database: Database) -> int:
    # Read from the catalogue: to_regclass() answers from a cache, which may be older than the lock's last holder.
    known = session.raw.execute(
        "SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = 'fact'",
        (database.schema,),
    ).fetchone()
    if known is None:
        return 0
    row = session.raw.execute("SELECT value FROM fact WHERE name = 'version'").fetchone()
    version = int(row[0]) if row else 0
    if version > len(MIGRATIONS):
        raise StoreTooNew(database.location, version, len(MIGRATIONS))
    return version


def _run(session: Session, database: Database, name: str) -> None:
    session.raw.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(database.schema)))
    session.raw.execute(script("postgres", name).encode(), prepare=False)
    number = MIGRATIONS.index(name) + 1
    session.raw.execute(
        "INSERT INTO fact VALUES ('version', %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (str(number),),
    )
    session.raw.execute("INSERT INTO fact VALUES ('uuid', %s) ON CONFLICT DO NOTHING", (str(uuid.uuid4()),))
