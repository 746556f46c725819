"""What a claim reads does not grow with the queue, also where the server believes that the queue is empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Literal

import psycopg
import pytest

from celeriac.core.attempt import Outcome
from celeriac.core.limits import Bound, Rule, pack
from celeriac.core.message import TaskMessage
from celeriac.store.postgres import PostgresStore
from celeriac.store.postgres.session import Session
from celeriac.testing.conformance.harness import LEASE, QUEUE, claim, publish, record, settlement, task
from tests.conformance.postgres import PostgresHarness
from tests.support import wait_for
from tests.support.own_postgres import Server

#: Messages that wait, and that others hold, and claims of so many of them.
WAITING, HELD, CLAIMS, EACH = 3000, 400, 10, 32
#: Rows read for each, in all indexes together; in lanes those are counted that could be taken instead.
READ, READ_IN_LANES = 25, 100


@pytest.fixture
def postgres_url(own_server: Server) -> str:
    return own_server.url


@pytest.fixture
def believed_empty(harness: PostgresHarness) -> None:
    """Statistics of a moment at which all that had been in the queue was done."""
    store = harness.open()
    publish(store, *(f"before-{number}" for number in range(500)))
    work(store)
    with store.database.reading() as session:
        session.raw.execute("ALTER TABLE message SET (autovacuum_enabled = false)")
        session.raw.execute("VACUUM (TRUNCATE false) message")
        row = session.raw.execute("SELECT relpages, reltuples FROM pg_class WHERE oid = 'message'::regclass").fetchone()
    assert row is not None
    assert row[0] > 0, "a table without a page is not believed to be empty"
    assert row[1] == 0
    close(harness, store)


def work(store: PostgresStore, claims: int | None = None) -> int:
    """Claim and settle so often, or until nothing is left; returns how many."""
    done = 0
    while claims is None or claims:
        taken = claim(store, limit=EACH)
        if not taken:
            break
        store.settle([settlement(item, Outcome.COMPLETED, record=record(item)) for item in taken])
        done += len(taken)
        claims = claims if claims is None else claims - 1
    return done


def close(harness: PostgresHarness, store: PostgresStore) -> None:
    """Close it, and wait until the server has counted what its connections have read, which it does as they end."""
    pids = [session.raw.info.backend_pid for session in store.database._idle]
    store.close()
    with closing(psycopg.connect(harness.url, autocommit=True)) as raw:
        left = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY (%s)"
        wait_for(lambda: raw.execute(left, (pids,)).fetchone() == (0,), 30, "its connections do not end")


def rows_read(harness: PostgresHarness) -> int:
    """By all whose connections are closed, of the queue's table: through indexes, and in order."""
    with closing(psycopg.connect(harness.url, autocommit=True)) as raw:
        row = raw.execute(
            "SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE schemaname = %(s)s AND relname = 'message')"
            " + (SELECT seq_tup_read FROM pg_stat_user_tables WHERE schemaname = %(s)s AND relname = 'message')",
            {"s": harness.schema},
        ).fetchone()
    assert row is not None
    return int(row[0])


def plain(number: int) -> TaskMessage:
    return task(f"t{number:05}")


def limited(number: int) -> TaskMessage:
    return task(f"t{number:05}", limits=pack([Bound("charge", f"{number % 100}", Rule(slots=5))]))


def delayed(number: int) -> TaskMessage:
    return task(f"t{number:05}", run_at=1.0)


def relay(store: PostgresStore, claims: int) -> int:
    """Give them to a broker instead."""
    taken = [store.take_for_relay(EACH, LEASE) for _ in range(claims)]
    for deliveries in taken:
        store.relayed([item.lease for item in deliveries], LEASE)
    return sum(map(len, taken))


Way = Callable[[PostgresStore, int], int]


@pytest.mark.usefixtures("believed_empty")
@pytest.mark.parametrize(
    ("kind", "way"),
    [(plain, work), (limited, work), (delayed, work), (plain, relay), (limited, relay)],
    ids=["plain", "limited", "delayed", "relayed", "limited and relayed"],
)
def test_a_queue_that_was_empty_is_not_read_whole(
    harness: PostgresHarness, kind: Callable[[int], TaskMessage], way: Way
) -> None:
    filling, working = harness.open(), harness.open()
    publish(filling, *(task(f"held-{number}") for number in range(HELD)))
    assert len(claim(filling, limit=HELD)) == HELD
    publish(filling, *(kind(number) for number in range(WAITING)))
    close(harness, filling)
    before = rows_read(harness)
    done = way(working, CLAIMS)
    close(harness, working)
    assert done >= CLAIMS * EACH / 2
    # Whatever is due, or paused, is made ready or set aside some thousands at once, each row once.
    read, each = rows_read(harness) - before, READ_IN_LANES if kind is limited else READ
    assert read <= each * (done + (WAITING if kind is delayed else 0)), f"{read / done:.0f} rows for each of {done}"


@pytest.mark.parametrize("kind", [plain, limited])
def test_what_is_gone_is_not_read_again(harness: PostgresHarness, kind: Callable[[int], TaskMessage]) -> None:
    """Before the first vacuum the indexes have an entry for every message that ever was."""
    store = harness.open()
    with store.database.reading() as session:
        session.raw.execute("ALTER TABLE message SET (autovacuum_enabled = false)")
    publish(store, *(kind(number) for number in range(WAITING)))
    assert work(store, WAITING // EACH // 2) >= WAITING // 3
    close(harness, store)
    before, working = rows_read(harness), harness.open()
    done = work(working, CLAIMS)
    close(harness, working)
    assert done == CLAIMS * EACH
    read, each = rows_read(harness) - before, READ_IN_LANES if kind is limited else READ
    assert read <= each * done, f"{read / done:.0f} rows for each of {done}"


@pytest.mark.usefixtures("believed_empty")
@pytest.mark.parametrize("kind", [plain, limited])
def test_a_paused_task_is_set_aside_in_one_pass(harness: PostgresHarness, kind: Callable[[int], TaskMessage]) -> None:
    filling, working = harness.open(), harness.open()
    publish(filling, *(kind(number) for number in range(WAITING)))
    name = kind(0).name
    assert name is not None
    filling.pause("task", name, "test", "")
    publish(filling, *(replace(task(f"other-{number}"), name="other") for number in range(EACH * CLAIMS)))
    close(harness, filling)
    before = rows_read(harness)
    done = 0
    for _ in range(20):
        done += work(working, CLAIMS)
    close(harness, working)
    assert done == EACH * CLAIMS
    assert (rows_read(harness) - before) <= READ * (done + WAITING)


@pytest.mark.usefixtures("believed_empty")
@pytest.mark.parametrize("kind", ["task", "queue"])
def test_a_claim_beside_what_is_paused_is_as_any_other(
    harness: PostgresHarness, monkeypatch: pytest.MonkeyPatch, kind: Literal["task", "queue"]
) -> None:
    filling = harness.open()
    waiting = [plain(number) for number in range(WAITING)]
    publish(filling, *(replace(one, queue="paused") if kind == "queue" else one for one in waiting))
    filling.pause(kind, "paused" if kind == "queue" else str(waiting[0].name), "test", "")
    assert claim(filling, QUEUE, "paused") == [], "all that is paused has been passed by"
    publish(filling, *(replace(task(f"other-{number}"), name="other") for number in range(EACH * CLAIMS)))
    close(harness, filling)
    ran: Counter[str] = Counter()
    run = Session.run

    def counting(session: Session, name: str, parameters: Sequence[Any] = ()) -> Any:
        ran[name] += 1
        return run(session, name, parameters)

    monkeypatch.setattr(Session, "run", counting)
    before, working = rows_read(harness), harness.open()
    done = sum(len(claim(working, QUEUE, "paused", limit=EACH)) for _ in range(CLAIMS))
    close(harness, working)
    assert done == EACH * CLAIMS
    assert (rows_read(harness) - before) <= READ * done
    # A look, and a claim of it.
    assert ran.total() <= 2 * CLAIMS, ran


def test_the_server_is_told_how_to_look(harness: PostgresHarness) -> None:
    store = harness.open()
    with store.database.reading() as session:
        assert session.raw.execute("SHOW enable_seqscan").fetchone() == ("off",)
        assert session.raw.execute("SHOW jit").fetchone() == ("off",)
    with store.database.scanning() as session:
        assert session.raw.execute("SHOW enable_seqscan").fetchone() == ("on",)
    publish(store, "a")
    assert [(size.queue, size.ready) for size in store.sizes()] == [(QUEUE, 1)]
    with store.database.reading() as session:
        assert session.raw.execute("SHOW enable_seqscan").fetchone() == ("off",)
