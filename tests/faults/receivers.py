"""Where effects arrive: outside celeriac, counted by what they were done for.

The transactional receiver keeps an effect and the mark "done" of its task in one transaction; the key-honouring one ignores
repeats of a key. Both know a task by its id, which is what celeriac must keep stable: done under two ids, it is done twice.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.journal import INSIDE, note, now

FILE = "receivers.db"
#: The file under which the gateway stands still, and seconds that a caller waits for an answer.
STANDS_STILL, PATIENCE = "gateway-stands-still", 0.05
_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE done (id TEXT PRIMARY KEY);
CREATE TABLE effect (unit TEXT, step TEXT);
CREATE TABLE honoured (key TEXT PRIMARY KEY, unit TEXT, step TEXT);
CREATE TABLE asked (id TEXT PRIMARY KEY, times INTEGER);
"""


class Receivers:
    """The books of one cell; kept open by whoever reads them in the end."""

    def __init__(self, folder: Path) -> None:
        self._raw = sqlite3.connect(folder / FILE, isolation_level=None)
        self._raw.executescript(_SCHEMA)

    def counted(self) -> Counter[tuple[str, str]]:
        """How often each step of each unit took effect."""
        rows = self._raw.execute("SELECT unit, step FROM effect UNION ALL SELECT unit, step FROM honoured")
        return Counter((unit, step) for unit, step in rows)

    def close(self) -> None:
        self._raw.close()


@contextmanager
def _opened(folder: str) -> Iterator[sqlite3.Connection]:
    raw = sqlite3.connect(Path(folder, FILE), isolation_level=None, timeout=60)
    try:
        raw.execute("PRAGMA synchronous = OFF")  # what a process wrote outlives it
        yield raw
    finally:
        raw.close()


def pay(folder: str, task_id: str, unit: str, step: str) -> None:
    """The transactional receiver: once for each task id."""
    with _opened(folder) as raw:
        raw.execute("BEGIN IMMEDIATE")
        if raw.execute("INSERT OR IGNORE INTO done VALUES (?)", (task_id,)).rowcount:
            raw.execute("INSERT INTO effect VALUES (?, ?)", (unit, step))
        raw.execute("COMMIT")


def honour(folder: str, key: str, unit: str, step: str) -> None:
    """The receiver that ignores the repeats of a key."""
    with _opened(folder) as raw:
        raw.execute("INSERT OR IGNORE INTO honoured VALUES (?, ?, ?)", (key, unit, step))


def asked(folder: str, task_id: str) -> int:
    """How often this task has asked by now, this time included."""
    counting = "INSERT INTO asked VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times"
    with _opened(folder) as raw:
        return int(raw.execute(counting, (task_id,)).fetchone()[0])


@contextmanager
def inside(folder: str, lane: int, unit: str, task_id: str, retries: int) -> Iterator[None]:
    """The limited receiver: notes who is there, and when. Who is killed does not leave."""
    who = {"lane": lane, "unit": unit, "id": task_id, "retries": retries}
    visit = f"{task_id}/{now()}"
    note(folder, INSIDE, visit=visit, t=now(), **who)
    try:
        yield
    finally:
        note(folder, INSIDE, visit=visit, left=now())


def stands_still(folder: str) -> bool:
    """Call the gateway; true when it has not answered in time."""
    closed = Path(folder, STANDS_STILL)
    if closed.exists():
        time.sleep(PATIENCE)
    return closed.exists()
