"""The schema's version, and how a file gets there."""

from __future__ import annotations

import sqlite3
import uuid

from celeriac.errors import StoreTooNew
from celeriac.store.clock import boot_id, same_boot
from celeriac.store.sql import script
from celeriac.store.sqlite.database import APPLICATION_ID, Database, Session, identity

#: One script a version, in order; ``PRAGMA user_version`` says how many ran.
MIGRATIONS = (
    "001_initial",
    "002_relayed",
    "003_limits",
    "004_desk",
    "005_circuits",
    "006_pauses",
    "007_workflows",
    "008_checkpoints",
    "009_chains",
    "010_joins",
    "011_letters_of_chords",
    "012_kept_workflows",
)


def migrate(database: Database) -> None:
    """Bring the file to this version's schema.

    Raises:
        StoreTooNew: a newer celeriac wrote it.
    """
    with database.reader.reading() as raw:
        if _version(raw, database) == len(MIGRATIONS) and _same_boot(raw):
            return
    with database.writer.writing() as raw:
        # Another process may have been faster.
        for name in MIGRATIONS[_version(raw, database) :]:
            _run(raw, name)
        _begin_boot(raw)


def _version(raw: Session, database: Database) -> int:
    version = identity(raw)[0]
    if version > len(MIGRATIONS):
        raise StoreTooNew(str(database.path), version, len(MIGRATIONS))
    return version


def _run(raw: Session, name: str) -> None:
    # executescript() would commit; the migration must be whole or absent.
    for statement in _statements(script("sqlite", name)):
        raw.execute(statement)
    raw.execute(f"PRAGMA user_version = {MIGRATIONS.index(name) + 1}")
    raw.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    raw.execute("INSERT OR IGNORE INTO fact VALUES ('uuid', ?)", (str(uuid.uuid4()),))


def _statements(text: str) -> list[str]:
    found, pending = [], ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending)
            pending = ""
    return found


def _same_boot(raw: Session) -> bool:
    row = raw.execute("SELECT value FROM fact WHERE name = 'boot'").fetchone()
    return row is not None and same_boot(row[0])


def _begin_boot(raw: Session) -> None:
    """Leases of an earlier boot are dead, and their clock began anew."""
    if not _same_boot(raw):
        raw.run("queue.forget_boot")
        raw.run("limits.forget_boot")
        raw.execute(
            "INSERT INTO fact VALUES ('boot', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (boot_id(),)
        )
