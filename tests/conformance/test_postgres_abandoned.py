"""A client that falls silent in the middle of a transaction, as when its host has vanished, holds nobody up for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest

from celeriac.errors import StoreUnavailable
from celeriac.store.postgres import PostgresStore, liveness
from celeriac.store.postgres.session import Session
from celeriac.store.tables import Outside
from celeriac.testing.conformance.harness import LEASE, claim, ids, publish, settlement
from tests.conformance.postgres import PostgresHarness
from tests.support import wait_for


@pytest.fixture
def harness(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresHarness]:
    monkeypatch.setattr(liveness, "ABANDONED", 1.0)
    opened = PostgresHarness(postgres_url)
    yield opened
    opened.close()


@contextmanager
def silence(store: PostgresStore) -> Iterator[Session]:
    """A transaction in which, after this block's statements, the client's commit comes too late."""
    transaction = store.database.writing()
    yield transaction.__enter__()
    with pytest.raises(StoreUnavailable, match="idle-in-transaction"):
        transaction.__exit__(None, None, None)


def test_what_it_was_about_to_settle_is_taken_over(harness: PostgresHarness) -> None:
    silent, other = harness.open(), harness.open()
    publish(other, "a")
    [held] = claim(silent)
    with silence(silent) as session:
        session.raw.execute("SELECT 1 FROM message WHERE task_id = 'a' FOR UPDATE")
        harness.pass_time(LEASE + 1)
        assert other.reclaim() == [], "a row that somebody is writing is passed over"
        wait_for(other.reclaim, 20)
        taken = claim(other)
    assert ids(taken) == ["a"]
    assert not silent.settle([settlement(held)])[0].held
    assert other.settle([settlement(taken[0])])[0].held


def test_a_lock_that_all_wait_for_is_free_again(harness: PostgresHarness) -> None:
    silent, other = harness.open(), harness.open()
    with silence(silent) as session:
        session.lock("order-7")

        def free() -> bool:
            with other.database.reading() as reader:
                question = "SELECT pg_try_advisory_lock_shared(hashtextextended('order-7', 7))"
                return reader.raw.execute(question).fetchone() == (True,)

        assert not free()
        wait_for(free, 20)


def test_a_relay_and_a_session_that_only_listens_are_given_up_as_well(harness: PostgresHarness) -> None:
    with closing(Outside(harness.url)) as outside:
        assert _patience_with(outside.raw) == ("1s", "10", "20000")
    with closing(harness.open().database.connect()) as raw:
        assert _patience_with(raw) == ("1s", "10", "20000")


def _patience_with(raw: psycopg.Connection[Any]) -> object:
    names = ("idle_in_transaction_session_timeout", "tcp_keepalives_idle", "tcp_user_timeout")
    return raw.execute("SELECT current_setting(%s), current_setting(%s), current_setting(%s)", names).fetchone()
