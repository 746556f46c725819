"""A million rows and a kill -9 every few seconds: ``python -m tests.faults.rows``.

One task inserts rows into a SQLite table, once with the cursor in the transaction that inserts and once with the cursor in
celeriac's store. Its worker is killed, all processes at once, every few seconds and started again. It prints how often each
row's effect happened.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from celeriac import Celery
from celeriac.store.tables import ddl
from tests.support import Worker, wait_for

#: Seconds a dead worker keeps its messages, and between checkpoints.
LEASE, EVERY = 1.0, 0.5
#: Rows that are committed together.
BATCH = 20

app = Celery("rows", broker=os.environ.get("ROWS_BROKER", "sqlite:///rows.db"))
app.conf.update(
    celeriac_lease_seconds=LEASE,
    celeriac_renew_seconds=LEASE / 4,
    celeriac_maintenance_seconds=0.5,
    celeriac_checkpoint_seconds=EVERY,
)


def _numbers(many: int) -> Any:
    return lambda after: iter(range(0 if after is None else after + 1, many))


def _connect(path: str, **options: Any) -> sqlite3.Connection:
    raw: sqlite3.Connection = sqlite3.connect(path, timeout=20, **options)
    raw.execute("PRAGMA synchronous = normal")  # a kill loses no commit, and a power cut is another fault
    return raw


def _itself(number: int) -> int:
    return number


@app.task(bind=True, name="shared")
def shared(self: Any, path: str, many: int) -> int:
    """The cursor is in the transaction that inserts."""
    with closing(_connect(path)) as raw:
        rows = self.iterate(_numbers(many), _itself, total=many, connection=raw)
        for number in rows:
            raw.execute("INSERT INTO copied VALUES (?)", (number,))
            if number % BATCH == BATCH - 1:
                rows.save()
                raw.commit()
        rows.save()
        raw.commit()
    return many


@app.task(bind=True, name="apart")
def apart(self: Any, path: str, many: int) -> int:
    """The cursor is in celeriac's store, and each row is committed by itself."""
    with closing(_connect(path, isolation_level=None)) as raw:
        for number in self.iterate(_numbers(many), _itself, total=many):
            raw.execute("INSERT INTO copied VALUES (?)", (number,))
    return many


def _database(folder: Path) -> str:
    path = str(folder / "shop.db")
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(
            ddl("effect", "sqlite") + "PRAGMA journal_mode = wal; CREATE TABLE copied (id INTEGER NOT NULL)"
        )
    return path


def run(task: Any, folder: Path, many: int, between: float) -> None:
    """One task to its end, its worker killed all the while; prints what became of the rows."""
    path, kills = _database(folder), 0
    repeated: list[int] = []
    began = time.monotonic()
    sent = task.delay(path, many)
    env = {"ROWS_BROKER": str(app.conf.broker_url)}
    while True:
        with Worker("tests.faults.rows", folder, pool="prefork", env=env) as worker:
            until = time.monotonic() + between * random.uniform(0.5, 1.5)  # when somebody dies is no secret
            wait_for(lambda: sent.ready() or time.monotonic() > until, 3600, "it does not end")  # noqa: B023  # at once
            if not sent.ready():
                worker.kill()
                kills += 1
        repeated.append(_repeated(path) - sum(repeated))
        if sent.ready():
            break
    click.echo(f"{task.name}: {sent.state}, {sent.progress.done:,} of {sent.progress.total:,} rows told")
    click.echo(f"  {kills} kills in {time.monotonic() - began:.0f} s; crashes in history: {_crashes(sent.id)}")
    click.echo(f"  rows: {_count(path, 'count(*)'):,}; different ones: {_count(path, 'count(DISTINCT id)'):,}")
    _tell_repeats(path, repeated)


def _tell_repeats(path: str, repeated: list[int]) -> None:
    again = _repeated(path)
    click.echo(f"  repeated: {again:,}" + (f"; after one kill at most {max(repeated, default=0):,}" if again else ""))
    with closing(sqlite3.connect(path)) as raw:
        most = raw.execute("SELECT max(n) FROM (SELECT count(*) AS n FROM copied GROUP BY id)").fetchone()[0]
    click.echo(f"  the row that was done most often: {most} times")


def _count(path: str, what: str) -> int:
    with closing(sqlite3.connect(path, timeout=20)) as raw:
        return int(raw.execute(f"SELECT {what} FROM copied").fetchone()[0])  # of this module's own


def _repeated(path: str) -> int:
    return _count(path, "count(*) - count(DISTINCT id)")


def _crashes(task_id: str) -> int:
    return len([attempt for attempt in app.store.attempts(task_id) if attempt.outcome == "crashed"])


def main() -> None:
    """Both kinds, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kill-every", type=float, default=4.0, help="seconds, half as many more or less")
    chosen = parser.parse_args()
    for task in (shared, apart):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            app.conf.broker_url = f"sqlite:///{folder}/celeriac.db"
            run(task, folder, chosen.rows, chosen.kill_every)
            app.store.close()


if __name__ == "__main__":
    main()
