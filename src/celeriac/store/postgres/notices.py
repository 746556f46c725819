"""Waits for commits, of whatever process and host: the server tells who listens."""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from typing import Any

import psycopg

from celeriac.errors import StoreUnavailable
from celeriac.store.postgres.database import Database, leave_to_the_parent

#: Seconds between looks of those for whom another thread listens.
LOOK = 0.005
#: Seconds until a lost connection is tried again.
RECONNECT = 1.0


class Notices:
    """Marks, and waits for, the commits to one schema.

    One thread of a process listens at a time, on one connection; the others see by the mark what it heard.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._heard = 0
        self._raw: psycopg.Connection[Any] | None = None
        self._listening = threading.Lock()
        self._lost_at = float("-inf")
        _ALL.add(self)

    def mark(self) -> int:
        """A number that changes with every commit that was heard of; the first call begins to listen."""
        if self._raw is None and self._listening.acquire(blocking=False):
            try:
                self._connect()
            finally:
                self._listening.release()
        return self._heard

    def wait(self, timeout: float, seen: int) -> int:
        """Sleep until the mark is no longer ``seen``, or ``timeout`` seconds have passed; returns the mark."""
        until = time.monotonic() + timeout
        while self._heard == seen:
            left = until - time.monotonic()
            if left <= 0:
                break
            if self._listening.acquire(blocking=False):
                try:
                    self._listen(left)
                finally:
                    self._listening.release()
            else:
                time.sleep(min(LOOK, left))
        return self._heard

    def _listen(self, seconds: float) -> None:
        try:
            if self._raw is None:
                # What was committed before it listened counts as heard.
                if not self._connect():
                    time.sleep(min(seconds, RECONNECT))
                return
            # Not the driver's own wait: it would stop every greenlet of the process.
            waiting = select.poll()
            waiting.register(self._raw.fileno(), select.POLLIN)
            if waiting.poll(max(1, int(seconds * 1000))):
                for _ in self._raw.notifies(timeout=0):
                    self._heard += 1
        except psycopg.Error:
            # What was said meanwhile is not known, so it counts as something.
            self._drop()
            self._heard += 1

    def _connect(self) -> bool:
        if time.monotonic() - self._lost_at < RECONNECT:
            return False
        try:
            raw = self._database.connect()
            raw.execute(f"LISTEN {self._database.channel}".encode())
        except (StoreUnavailable, psycopg.Error):
            self._lost_at = time.monotonic()
            return False
        self._raw = raw
        self._heard += 1
        return True

    def _drop(self) -> None:
        raw, self._raw = self._raw, None
        self._lost_at = time.monotonic()
        if raw is not None:
            raw.close()

    def close(self) -> None:
        """Stop listening; the next mark begins again."""
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close()

    def forget(self) -> None:
        """In a child: the connection is the parent's."""
        self._listening = threading.Lock()
        raw, self._raw = self._raw, None
        if raw is not None:
            leave_to_the_parent(raw)


_ALL: weakref.WeakSet[Notices] = weakref.WeakSet()


def _after_fork() -> None:
    for notices in list(_ALL):
        notices.forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
