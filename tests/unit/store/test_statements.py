"""The SQL in files: all of it is valid, and what runs often reads an index and not a table."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import celeriac.store.sql
from celeriac.store.sql import queries, script
from celeriac.store.sqlite.migrate import MIGRATIONS

FILES = sorted(
    path.stem for path in Path(celeriac.store.sql.__file__).parent.glob("sqlite/*.sql") if not path.stem[0].isdigit()
)
STATEMENTS = [(room, name) for room in FILES for name in queries("sqlite", room)]
#: Run at every claim, settle or look of an idle worker: what each must search by.
INDEXED = {
    ("queue", "claim"): ["message_ready"],
    ("queue", "suspect"): ["message_suspect"],
    ("queue", "promote"): ["message_due"],
    ("queue", "next_due"): ["message_due"],
    ("queue", "work"): ["message_due", "message_ready", "message_suspect"],
    ("queue", "expired_leases"): ["message_lease"],
    ("queue", "unpark"): ["message_parked"],
    ("queue", "extend"): ["rowid"],
    ("queue", "ready_count"): ["message_ready"],
    ("pauses", "sweep_ready"): ["message_ready"],
    ("pauses", "sweep_lanes"): ["message_lane_task"],
    ("pauses", "let_go"): ["message_held"],
    ("pauses", "held_names"): ["message_held"],
    ("keys", "held_by"): ["idempotency_key_task"],
    ("ledger", "live"): ["message_task"],
    ("ledger", "prune_tasks"): ["task_expiry"],
    ("ledger", "prune_attempts"): ["attempt_finished"],
    ("ledger", "prune_keys"): ["idempotency_key_expiry"],
    ("ledger", "prune_revoked"): ["revoked_expiry"],
    ("ledger", "prune_groups"): ["group_result_expiry"],
    ("ledger", "prune_chords"): ["chord_over"],
    ("ledger", "chords_waiting"): ["chord_complete"],
    ("failures", "read"): ["PRIMARY KEY"],
    ("failures", "unread"): ["PRIMARY KEY"],
    ("failures", "select"): ["failure_failed"],
    ("failures", "prune"): ["failure_failed"],
    ("dead_letters", "of_tasks"): ["dead_letter_task"],
    ("dead_letters", "keep_chords"): ["PRIMARY KEY"],
    ("dead_letters", "there"): ["PRIMARY KEY"],
    ("dead_letters", "delete"): ["PRIMARY KEY"],
    ("queue", "in_queues"): ["message_task"],
    ("failures", "read_all"): ["PRIMARY KEY"],
    ("dead_letters", "actions_of"): ["action_task"],
    ("dead_letters", "prune_letter_chords"): ["letter_chord_held"],
    ("dead_letters", "hold_chord_with"): ["letter_chord_group"],
    ("ledger", "prune_chord_parts"): ["chord_over", "letter_chord_group", "dead_letter_task"],
    ("workflows", "message_of"): ["message_task"],
    ("workflows", "counted"): ["PRIMARY KEY", "letter_chord_group", "dead_letter_task"],
}


@pytest.fixture
def raw() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for migration in MIGRATIONS:
            connection.executescript(script("sqlite", migration))
        yield connection


def _plan(raw: sqlite3.Connection, statement: str) -> list[str]:
    explain = f"EXPLAIN QUERY PLAN {statement}"
    return [str(row[3]) for row in raw.execute(explain, ["[]"] * _count(raw, explain))]


def _count(raw: sqlite3.Connection, statement: str) -> int:
    """How many parameters it takes; SQLite counts them best."""
    with pytest.raises(sqlite3.ProgrammingError, match=r"uses \d+") as caught:
        raw.execute(statement, ["[]"] * 50)
    return int(re.findall(r"uses (\d+)", str(caught.value))[0])


@pytest.mark.parametrize(("room", "name"), STATEMENTS)
def test_every_statement_is_valid(raw: sqlite3.Connection, room: str, name: str) -> None:
    _plan(raw, queries("sqlite", room)[name])


@pytest.mark.parametrize(("room", "name"), INDEXED)
def test_what_runs_often_searches(raw: sqlite3.Connection, room: str, name: str) -> None:
    plan = "\n".join(_plan(raw, queries("sqlite", room)[name]))
    for index in INDEXED[room, name]:
        assert re.search(rf"SEARCH .*\b{index}\b", plan), plan
    assert "USE TEMP B-TREE" not in plan


def test_every_statement_is_used() -> None:
    package = Path(celeriac.store.sql.__file__).parents[1]
    code = "\n".join(
        path.read_text(encoding="utf-8") for room in ("relational", "sqlite") for path in (package / room).glob("*.py")
    )
    unused = [f"{room}.{name}" for room, name in STATEMENTS if f'"{room}.{name}"' not in code]
    assert unused == []
