"""Long tasks in checkpoints, for the tests and their workers."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from tests.integration.tasks import lines, note, task, wait_until_open


def numbers(many: int) -> Any:
    """A source: the numbers behind the cursor."""
    return lambda after: iter(range(0 if after is None else after + 1, many))


def _itself(number: int) -> int:
    return number


def _step(pause: float) -> None:
    if pause:
        time.sleep(pause)


@task(bind=True)
def count_up(self: Any, journal: str, many: int, pause: float = 0.0, every: float = 0.05, give_way: Any = None) -> int:
    """Note each number, and when a run begins."""
    note(journal, "run")
    for number in self.iterate(numbers(many), _itself, total=many, every=every, give_way=give_way):
        note(journal, str(number))
        _step(pause)
    return many


@task(bind=True)
def count_items(self: Any, journal: str, items: list[str], flag: str) -> str:
    """Fails at the first item that has a flag that is not there."""
    for item in self.iterate(items, every=30):
        if item == "bad" and not Path(flag).exists():
            raise ValueError("a bad item")
        note(journal, item)
    return "done"


@task(bind=True)
async def count_up_async(self: Any, journal: str, many: int) -> int:
    for number in self.iterate(numbers(many), _itself, every=0.05, give_way=0.2):
        note(journal, str(number))
        time.sleep(0.02)  # noqa: ASYNC251  # it is a row's work
    return many


@task(bind=True)
def crash_at(self: Any, journal: str, many: int, bad: int, each: int = 1) -> int:
    """Kill the process at one number, again and again; or at each so many once, with a flag that says so."""
    for number in self.iterate(numbers(many), _itself, every=60):
        if number == bad or (each > 1 and number % each == each - 1 and _first(f"{journal}.{number}")):
            os.kill(os.getpid(), signal.SIGKILL)
        note(journal, str(number))
    return many


def _first(flag: str) -> bool:
    with suppress(FileExistsError):
        Path(flag).touch(exist_ok=False)
        return True
    return False


@task(bind=True)
def hang_at(self: Any, journal: str, many: int, bad: int, times: int) -> int:
    """Stop at one number, so many times."""
    for number in self.iterate(numbers(many), _itself, every=0.05, give_way=600):
        if number == bad and lines(journal).count("hangs") < times:
            note(journal, "hangs")
            while True:
                time.sleep(0.05)
        time.sleep(0.02)
        note(journal, str(number))
    return many


@task(bind=True)
def swallow(self: Any, journal: str, many: int) -> str:
    """A body that lets nothing through."""
    with suppress(Exception):
        for number in self.iterate(numbers(many), _itself, every=30, give_way=0.1):
            note(journal, str(number))
            time.sleep(0.03)
    return "done"


@task(bind=True, soft_time_limit=600)
def stop_softly(self: Any, journal: str, many: int) -> int:
    """A soft limit that comes where it wants to."""
    for number in self.iterate(numbers(many), _itself, every=30):
        note(journal, str(number))
        if number and number % 3 == 0 and _first(f"{journal}.{number}"):
            raise SoftTimeLimitExceeded
    return many


@task(bind=True)
def two_steps(self: Any, journal: str, flag: str) -> str:
    for item in self.iterate(["a", "b"], step="first"):
        note(journal, item)
    for item in self.iterate(["c", "d"], step="second"):
        if item == "d" and _first(flag):
            raise ConnectionRefusedError
        note(journal, item)
    return "done"


@task(bind=True)
def tell(self: Any, journal: str, gate: str) -> str:
    self.progress(3, 10, "three of ten")
    note(journal, "told")
    wait_until_open(gate)
    self.progress(10, 10)
    return "done"


@task(bind=True)
def tell_and_fail(self: Any) -> None:
    self.progress(3, 10)
    raise ValueError


@task()
def unbound() -> None:
    from celery import current_task  # as whoever has no self would

    list(current_task.iterate([1, 2]))


@task(bind=True, durable=False)
def not_durable(self: Any) -> None:
    self.progress(1)


@task(bind=True)
def bad_source(self: Any) -> None:
    for _ in self.iterate(iter([1, 2])):
        pass


@task(bind=True)
def too_large(self: Any) -> None:
    """A cursor that is larger than any should be, behind one that is not."""
    for _ in self.iterate(numbers(5), lambda number: "x" * 100_000 * (number > 0), every=0.01):
        time.sleep(0.02)


@task(bind=True)
def copy_rows(self: Any, path: str, many: int, batch: int = 1, pause: float = 0.0) -> int:
    """Insert each number in the transaction that moves the cursor."""
    with closing(sqlite3.connect(path, timeout=20)) as raw:
        rows = self.iterate(numbers(many), _itself, total=many, every=0.05, connection=raw)
        for number in rows:
            raw.execute("INSERT INTO copied VALUES (?)", (number,))
            if number % batch == batch - 1:
                rows.save()
                raw.commit()
                _step(pause)
        rows.save()
        raw.commit()
    return many


def copied(path: str) -> Iterator[int]:
    with closing(sqlite3.connect(path, timeout=20)) as raw:
        yield from (row[0] for row in raw.execute("SELECT id FROM copied ORDER BY rowid"))
