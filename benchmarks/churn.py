"""Does PostgreSQL's hot table stay small, and a claim fast, when a million tasks have gone through it?

The rounds are of fifty thousand: that many wait at once. A row of such a message is 800 bytes (its envelope is 669 of them), ten
of which fill a page: 819 bytes for each that waits, and 133 for its entries in three indexes. So 48 MB are what waits; the rest
is rows that were claimed or settled since the last vacuum, two for each task. The server does not compress rows below 2 kB,
whatever the storage of a column says.
"""

from __future__ import annotations

import statistics
from contextlib import closing
from itertools import count as counting
from threading import Event, Thread

import psycopg
from psycopg import sql

from benchmarks import backlog, harness
from benchmarks.harness import Figure
from celeriac.core.message import TaskMessage
from celeriac.publish.ids import new_id
from celeriac.store.postgres import PostgresStore
from celeriac.worker.maintenance import TIDIED

#: The hot table with its indexes after all of them, and the rate of claiming then against a fresh schema's.
SIZE_BAR, RATE_BAR = 100.0, 0.8
ROUNDS, TURNS, TURN = 20, 9, 5000
USED, FRESH = "celeriac_bench_used", "celeriac_bench_fresh"


def fill(store: PostgresStore, count: int) -> None:
    """Messages of the size Celery makes them, in hundreds."""
    for start in range(0, count, 500):
        store.publish(
            [
                TaskMessage("q", backlog.ENVELOPE, "[[],{},{}]", task_id=new_id(), name="bench.noop")
                for _ in range(min(500, count - start))
            ]
        )


def size(raw: psycopg.Connection[tuple[int]], schema: str) -> tuple[float, int]:
    """MB of the hot table with its indexes, and its dead rows."""
    row = raw.execute(
        "SELECT pg_total_relation_size(relid), n_dead_tup FROM pg_stat_user_tables"
        " WHERE schemaname = %s AND relname = 'message'",
        (schema,),
    ).fetchone()
    assert row is not None
    megabytes, dead = row  # type: ignore[misc]
    return megabytes / 1e6, dead


def looked_after(store: PostgresStore, stop: Event) -> None:
    """What the maintenance of a worker does, as often."""
    keeper = store.keeper()
    for number in counting(1):
        if stop.wait(TIDIED):
            break
        keeper.tidy()
        if number % 5 == 0:
            keeper.prune(keeper.now(), attempts_before=0.0, dead_letters_before=None)
    keeper.close()


def churn(store: PostgresStore, tasks: int, say: harness.Say, raw: psycopg.Connection[tuple[int]]) -> list[float]:
    """Publish, claim and settle them in rounds; the table's size after each."""
    sizes: list[float] = []
    stop = Event()
    thread = Thread(target=looked_after, args=(store, stop))
    thread.start()
    try:
        for number in range(ROUNDS):
            fill(store, tasks // ROUNDS)
            done = backlog.rate(store, tasks // ROUNDS)
            megabytes, dead = size(raw, USED)
            sizes.append(megabytes)
            say(f"churn: round {number + 1} of {ROUNDS}, {done:,.0f}/s, {megabytes:.0f} MB, {dead:,} dead rows")
    finally:
        stop.set()
        thread.join()
    return sizes


def measure(runs: int, tasks: int, say: harness.Say) -> list[Figure]:
    """Size after a million, and the claim-and-settle rate then, beside a fresh schema in turns."""
    count = 1_000_000 if runs >= 5 else tasks * 10
    url = harness.postgres_url()
    with closing(psycopg.connect(url, autocommit=True)) as raw:
        drop(raw)
        used, fresh = PostgresStore(url, schema=USED), PostgresStore(url, schema=FRESH)
        try:
            sizes = churn(used, count, say, raw)
            values: dict[str, list[float]] = {"fresh schema": [], f"after {count:,}": []}
            for turn in range(TURNS):
                say(f"churn: turn {turn + 1} of {TURNS}")
                for store, found in zip((fresh, used), values.values(), strict=True):
                    fill(store, TURN)
                    found.append(backlog.rate(store, TURN))
        finally:
            used.close()
            fresh.close()
            drop(raw)
    ratio = statistics.median(after / before for before, after in zip(*values.values(), strict=True))
    most = max(sizes)
    return [
        Figure(
            "PostgreSQL, hot table", "MB", {f"{count:,} tasks": sizes}, f"{most:.0f} MB at most; bar {SIZE_BAR:.0f}",
            most <= SIZE_BAR,
        ),
        Figure(
            "PostgreSQL, claim and settle", "messages/s", values, f"{ratio:.2f} × fresh; bar {RATE_BAR} ×",
            ratio >= RATE_BAR,
        ),
    ]  # fmt: skip


def drop(raw: psycopg.Connection[tuple[int]]) -> None:
    """Both schemas, as they were before."""
    for schema in (USED, FRESH):
        raw.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))
