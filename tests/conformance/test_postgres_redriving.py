"""On PostgreSQL many dead letters take as many statements as one, and locks in another's order refuse none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg import sql

from celeriac.core.attempt import DeadLetterFilter, Failure, Outcome
from celeriac.core.desk import Redrive
from celeriac.core.message import IdempotencyKey
from celeriac.store.postgres import PostgresStore
from celeriac.store.postgres.session import STATEMENTS, Session
from celeriac.store.relational.keys import full_key
from celeriac.testing.conformance.harness import ME, claim, publish, settlement, task
from tests.conformance.postgres import PostgresHarness
from tests.support import wait_for

LETTERS = 100
#: Begin, commit and news; what is there, live, done and sent before; the message, the letter, chords, failures, the log.
STATEMENTS_AT_MOST = 12


def _key(number: int) -> IdempotencyKey:
    return IdempotencyKey("shop.charge", f"k{number:03}", "digest", 60.0)


def _letters(store: PostgresStore, count: int, *, keyed: bool = False) -> list[Redrive]:
    """Redrives of so many dead letters."""
    messages = [task(f"t{number:03}", key=_key(number) if keyed else None) for number in range(count)]
    publish(store, *messages)
    why = Failure("exhausted", "builtins.OSError", "refused")
    ends = [
        settlement(item, Outcome.DEAD_LETTERED, failure=why, key=_key(0) if keyed else None)
        for item in claim(store, limit=count)
    ]
    store.settle(ends)
    letters = list(store.dead_letters(DeadLetterFilter()))
    assert len(letters) == count
    return [Redrive(letter, message, ME) for letter, message in zip(letters, messages, strict=True)]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each statement was run; what begins and ends a transaction too."""
    counted: Counter[str] = Counter()
    run, simply = Session.run, Session._simply

    def counting(session: Session, name: str, parameters: Sequence[Any] = ()) -> Any:
        counted[name] += 1
        return run(session, name, parameters)

    def counting_simply(session: Session, command: bytes) -> None:
        counted[command.decode()] += 1
        simply(session, command)

    monkeypatch.setattr(Session, "run", counting)
    monkeypatch.setattr(Session, "_simply", counting_simply)
    return counted


def test_a_redrive_of_many_takes_as_many_statements_as_one(harness: PostgresHarness, ran: Counter[str]) -> None:
    store = harness.open()
    redrives = _letters(store, LETTERS)
    ran.clear()
    assert store.redrive_all(redrives) == [None] * LETTERS
    assert set(ran.values()) == {1}, ran
    assert ran.total() <= STATEMENTS_AT_MOST, ran


def test_so_does_looking_at_them_and_purging_them(harness: PostgresHarness, ran: Counter[str]) -> None:
    store = harness.open()
    _letters(store, LETTERS)
    ran.clear()
    letters = list(store.dead_letters(DeadLetterFilter(), batch=LETTERS))
    assert [len(letter.attempts) for letter in letters] == [1] * LETTERS
    assert ran.total() == 3, ran  # a page, its attempts, and that there is no other
    ran.clear()
    assert store.purge_dead_letters([letter.id for letter in letters], ME) == LETTERS
    assert set(ran.values()) == {1}, ran


def test_who_locks_in_another_order_refuses_nobody(harness: PostgresHarness) -> None:
    store = harness.open()
    redrives = _letters(store, 2, keyed=True)
    pids = [session.raw.info.backend_pid for session in store.database._idle]
    locked = STATEMENTS["keys.lock"][0].replace("$1", "%s")
    with closing(psycopg.connect(harness.url)) as other, ThreadPoolExecutor(1) as thread:
        # Whoever waits for so long gives the other up.
        other.execute("SET deadlock_timeout = '1h'")
        other.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(harness.schema)))
        other.execute(locked, (full_key(_key(1)),))
        redriving = thread.submit(store.redrive_all, redrives)
        wait_for(lambda: _waits(harness, pids), 30, "the redrive does not come as far")
        other.execute(locked, (full_key(_key(0)),))
        other.rollback()
        assert redriving.result(60) == [None, None]
    assert store.count_dead_letters(DeadLetterFilter()) == 0
    assert sorted(str(item.task_id) for item in claim(store)) == ["t000", "t001"]


def _waits(harness: PostgresHarness, pids: list[int]) -> bool:
    """Whether one of these waits for a key."""
    with closing(psycopg.connect(harness.url, autocommit=True)) as raw:
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND pid = ANY (%s)"
        return raw.execute(waiting, (pids,)).fetchone() == (1,)
