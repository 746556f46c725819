"""An app whose tasks record steps in a database of the application's, for the tests and their workers."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.integration.tasks import note, task, wait_until_open


@contextmanager
def connected(url: str) -> Iterator[Any]:
    """A connection with a transaction open on it, which the block has to commit."""
    if url.startswith("postgresql:"):
        import psycopg  # few workers need it

        with closing(psycopg.connect(url)) as raw:
            yield raw
    else:
        with closing(sqlite3.connect(url, isolation_level=None, timeout=20)) as raw:
            raw.execute("BEGIN IMMEDIATE")
            yield raw


def die_once(flag: str) -> None:
    """End the process as a crash does, the first time."""
    try:
        Path(flag).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _charge(self: Any, url: str, order: int, journal: str, point: str, flag: str) -> Any:
    """Insert a charge once, and die at the point ``before`` or ``after`` the commit."""
    with connected(url) as raw:
        with self.effect_once("charge", raw) as first:
            if first:
                raw.execute(f"INSERT INTO charges VALUES ({int(order)})")
                first.save({"receipt": order * 10})
        if point == "before":
            die_once(flag)
        raw.commit()
    note(journal, f"{bool(first)}")
    if point == "after":
        die_once(flag)
    return first.value


@task(bind=True)
def charge(self: Any, url: str, order: int, journal: str, point: str = "", flag: str = "") -> Any:
    return _charge(self, url, order, journal, point, flag)


@task(bind=True, idempotency_key="charge:{order}")
def charge_keyed(self: Any, url: str, order: int, journal: str, point: str = "", flag: str = "") -> Any:
    return _charge(self, url, order, journal, point, flag)


@task(bind=True)
def charge_slowly(self: Any, url: str, order: int, journal: str, gate: str) -> Any:
    """Begin at once and be done when the gate opens."""
    note(journal, "at it")
    with connected(url) as raw:
        with self.effect_once("charge", raw) as first:
            note(journal, f"first {bool(first)}")
            if first:
                wait_until_open(gate)
                raw.execute(f"INSERT INTO charges VALUES ({int(order)})")
                first.save(order)
        raw.commit()
    return first.value


@task(bind=True, retries=3)
def charge_and_fail(self: Any, url: str, order: int, journal: str) -> Any:
    """The step is done, and what follows it fails."""
    with connected(url) as raw:
        with self.effect_once("charge", raw) as first:
            if first:
                raw.execute(f"INSERT INTO charges VALUES ({int(order)})")
                first.save(self.request.retries)
        raw.commit()
    note(journal, str(bool(first)))
    if self.request.retries < 2:
        raise ConnectionRefusedError(111, "refused")
    return first.value


@task(bind=True)
def charge_many(self: Any, url: str, order: int) -> None:
    """A step in the middle of a storm."""
    with connected(url) as raw:
        with self.effect_once("charge", raw) as first:
            if first:
                raw.execute(f"INSERT INTO charges VALUES ({int(order)})")
        time.sleep(0.02)
        raw.commit()
    time.sleep(0.03)
