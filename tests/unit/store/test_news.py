"""Who waits on PostgreSQL is told of what concerns it: at once where it is quiet, together where it is not."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from celeriac.errors import StoreUnavailable
from celeriac.store.postgres import bell
from celeriac.store.postgres.bell import Bell
from celeriac.store.postgres.news import NEWS, channels
from celeriac.store.postgres.session import STATEMENTS
from celeriac.store.protocols import News
from tests.support import wait_for

#: They change what somebody could wait for, and concern nobody: what they take, hold or delete is the caller's own.
SILENT = {
    "queue.promote",  # the caller claims next, and each idle worker knows when something is due
    "queue.claim",
    "queue.claim_unpaused",
    "queue.claim_suspect",
    "queue.adopt",  # what is not due yet, the relay beside it is told of
    "queue.take_over",
    "queue.take_over_suspect",
    "queue.take_for_relay",
    "queue.relayed",
    "queue.extend",
    "queue.start",
    "queue.go_behind",  # it was released in the same transaction
    "checkpoints.absolve",
    "dead_letters.keep_snoozes",  # the redrive beside it is told of
    "limits.claim",
    "limits.relay",
    "limits.relay_suspect",
    "queue.finish",
    "queue.finish_unsettled",
    "queue.delete_message",
    "queue.prune_broadcast",
    "pauses.set_aside",  # they take out of claims what is paused
    "pauses.sweep_ready",
    "pauses.sweep_suspects",
    "pauses.sweep_lanes",
    "pauses.hold",
    "ledger.forget",
    "ledger.forget_result",
    "ledger.prune_tasks",
    "ledger.prune_revoked",
}
_CHANGES = re.compile(r"\b(?:INSERT INTO|UPDATE|DELETE FROM) (?:message|task|broadcast|revoked)\b")


class Heard:
    """Stands for the sessions of a database, and for each."""

    def __init__(self) -> None:
        self.words: list[tuple[float, bytes]] = []
        self.failing: Exception | None = None

    @contextmanager
    def __call__(self) -> Iterator[Heard]:
        yield self

    def tell(self, word: bytes) -> None:
        self.words.append((time.monotonic(), word))
        if self.failing is not None:
            raise self.failing


@pytest.fixture
def heard() -> Heard:
    return Heard()


def ringing(heard: Heard) -> tuple[Bell, Any]:
    return Bell("shop", heard), heard  # type: ignore[arg-type]  # a session as far as a bell knows it


def test_every_statement_that_somebody_may_wait_for_is_news() -> None:
    changing = {name for name, (text, _) in STATEMENTS.items() if _CHANGES.search(text)}
    assert changing - NEWS.keys() == SILENT
    assert NEWS.keys() <= STATEMENTS.keys()


def test_channels_fit_the_longest_schema() -> None:
    names = channels("s" * 48).values()
    assert all(len(name) < 64 for name in names)
    assert len(set(names)) == len(News)


def test_a_word_in_the_quiet_is_said_at_once(heard: Heard) -> None:
    ring, session = ringing(heard)
    ring.ring(session, News.WORK)
    ring.ring(session, News.RESULTS)
    assert [word for _, word in heard.words] == [b'NOTIFY "celeriac_work_shop"', b'NOTIFY "celeriac_done_shop"']


def test_a_burst_shares_its_words_and_the_last_is_said(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "APART", 0.2)
    ring, session = ringing(heard)
    for _ in range(1000):
        ring.ring(session, News.WORK)
    said = len(heard.words)
    assert said < 50
    last = time.monotonic()
    wait_for(lambda: heard.words[-1][0] > last, 10)
    time.sleep(0.5)
    assert len(heard.words) == said + 1, "nothing is owed any more"
    apart = [later - before for (before, _), (later, _) in zip(heard.words, heard.words[1:], strict=False)]
    assert min(apart) >= 0.19


def test_what_is_owed_is_said_with_the_next(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "APART", 0.0)
    ring, session = ringing(heard)
    ring._owed = int(News.WORK)
    ring.ring(session, News.RESULTS)
    assert [word for _, word in heard.words] == [b'NOTIFY "celeriac_work_shop"; NOTIFY "celeriac_done_shop"']


@pytest.mark.parametrize("error", [psycopg.OperationalError("gone"), psycopg.errors.LockNotAvailable("busy")])
def test_a_word_that_cannot_be_said_undoes_no_commit(heard: Heard, error: Exception) -> None:
    ring, session = ringing(heard)
    heard.failing = error
    ring.ring(session, News.WORK)
    assert len(heard.words) == 1


def test_the_thread_outlives_a_server_that_is_away(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "APART", 0.05)
    ring, session = ringing(heard)
    ring.ring(session, News.WORK)
    heard.failing = StoreUnavailable("postgresql://h/d", "away")
    ring.ring(session, News.WORK)  # owed, and said by the thread, in vain
    wait_for(lambda: len(heard.words) == 2, 10)
    heard.failing = None
    for _ in range(2):
        ring.ring(session, News.WORK)
    last = time.monotonic()
    wait_for(lambda: heard.words[-1][0] > last, 10)


def test_an_end_says_what_is_owed(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "APART", 60.0)
    ring, session = ringing(heard)
    ring.ring(session, News.WORK)
    ring.ring(session, News.WORK)
    assert len(heard.words) == 1
    ring.say_what_is_owed(all_of_it=True)
    assert len(heard.words) == 2
    ring.say_what_is_owed(all_of_it=True)
    assert len(heard.words) == 2


def test_a_child_owes_nothing(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "APART", 60.0)
    ring, session = ringing(heard)
    ring.ring(session, News.WORK)
    ring.ring(session, News.WORK)
    ring.forget()
    ring.say_what_is_owed(all_of_it=True)
    assert len(heard.words) == 1
    ring.ring(session, News.WORK)
    assert len(heard.words) == 2
