"""The last two members of a chord settle at the same moment, on two connections: one of them completes it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest

from celeriac.core.attempt import Outcome
from celeriac.store.postgres import PostgresStore
from celeriac.store.postgres.session import STATEMENTS, Session
from celeriac.testing.conformance.harness import claim, part, publish, record, settlement, task
from tests.conformance.postgres import PostgresHarness

ROUNDS, HELD_UP = 40, 5
#: Seconds that who is about to commit gives the other to come as far.
MEET = 0.5


@pytest.fixture
def stores(postgres_url: str) -> Iterator[tuple[PostgresStore, PostgresStore]]:
    harness = PostgresHarness(postgres_url)
    yield harness.open(), harness.open()
    harness.close()


def last_two(stores: tuple[PostgresStore, PostgresStore], group: str, together: Callable[[], object]) -> int:
    """Settle both; how often the body was sent."""
    names = [f"{group}-{number}" for number in range(2)]
    publish(stores[0], *names)
    stores[0].set_chord_size(group, 2)
    taken = claim(stores[0], limit=2)
    assert len(taken) == 2

    def settle(number: int) -> tuple[str, ...]:
        item = taken[number]
        mine = settlement(item, Outcome.COMPLETED, record=record(item, "SUCCESS"), chord=[part(group, names[number])])
        together()
        (answer,) = stores[number].settle([mine])
        assert answer.held
        return answer.complete_chords

    with ThreadPoolExecutor(2) as threads:
        complete = [name for answer in threads.map(settle, range(2)) for name in answer]
    body = task(f"{group}-body", queue="bodies")
    return sum(stores[0].close_chord(name, succeeded=True, messages=[body], records=[]).held for name in complete)


@pytest.fixture
def commits_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither commits before the other is about to, unless the other cannot come as far."""
    commit = Session.commit
    meeting = threading.Barrier(2)

    def meet(session: Session, word: bytes = b"") -> None:
        if threading.current_thread() is not threading.main_thread():
            with suppress(threading.BrokenBarrierError):
                meeting.wait(MEET)
            meeting.reset()
        commit(session, word)

    monkeypatch.setattr(Session, "commit", meet)


def test_of_two_that_run_free_one_completes_it(stores: tuple[PostgresStore, PostgresStore]) -> None:
    barrier = threading.Barrier(2)
    bodies = [last_two(stores, f"g{number}", barrier.wait) for number in range(ROUNDS)]
    assert bodies == [1] * ROUNDS
    assert stores[1].size("bodies") == ROUNDS


def test_of_two_that_commit_together_one_completes_it(
    stores: tuple[PostgresStore, PostgresStore], commits_meet: None
) -> None:
    assert [last_two(stores, f"g{number}", bool) for number in range(HELD_UP)] == [1] * HELD_UP


def test_without_the_lock_of_the_chord_nobody_would(
    stores: tuple[PostgresStore, PostgresStore], commits_meet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the test above can fail: each counts only itself, where no row is written that both have to wait for."""
    with closing(stores[0].database.connect()) as raw:
        raw.execute("DROP TRIGGER chord_part_counted ON chord_part")
    complete, _ = STATEMENTS["ledger.chord_complete"]
    counted = complete.replace("<= parts", "<= (SELECT count(*) FROM chord_part WHERE group_id = $1)")
    assert counted != complete
    monkeypatch.setitem(STATEMENTS, "ledger.chord_complete", (counted, ()))
    text, packed = STATEMENTS["ledger.chord_body"]
    guard = "DO UPDATE SET body = coalesce(nullif(chord.body, ''), excluded.body), updated_at = $3"
    assert guard in text
    monkeypatch.setitem(STATEMENTS, "ledger.chord_body", (text.replace(guard, "DO NOTHING"), packed))
    assert last_two(stores, "g", bool) == 0
