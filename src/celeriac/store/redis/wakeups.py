"""Waits for commits, of whatever process and host: a stream tells who reads it."""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from contextlib import suppress
from itertools import count

from redis import exceptions

from celeriac.errors import StoreError
from celeriac.store.redis.database import Database
from celeriac.store.redis.session import Session

#: Seconds between looks of those for whom another thread listens.
LOOK = 0.005
#: Seconds until a lost connection is tried again.
RECONNECT = 1.0
#: Seconds for which the server holds an answer back while there is none, and by which it may then be late.
BLOCK, LATE = 5.0, 5.0
#: All that is committed, and what an idle worker can take.
COMMITS, WORK = "commits", "work"


class Wakeups:
    """Marks, and waits for, commits: those of this process, and those that a stream tells of.

    One thread of a process listens at a time, on one connection, and only while somebody waits: a busy process costs
    the server nothing. What was said meanwhile is in the stream, so nothing is missed.
    """

    def __init__(self, database: Database, stream: str) -> None:
        self._database = database
        self._stream = database.base + stream.encode()
        self._heard = 0
        self._words = count(1)
        self._after: bytes = b"0-0"
        self._session: Session | None = None
        self._asked_until = 0.0
        self._lost_at = float("-inf")
        self._begin()
        database.listeners.add(self)
        _ALL.add(self)

    def mark(self) -> int:
        """A number that changes with every commit that was heard of."""
        return self._heard

    def _hear(self) -> None:
        self._heard = next(self._words)  # never the same number twice, whichever threads hear at once

    def committed(self) -> None:
        """This process has committed something; nobody else need tell it."""
        self._hear()
        if self._listening.locked():
            with suppress(OSError):  # full: who listens has been rung for already
                os.write(self._ring, b"!")

    def wait(self, timeout: float, seen: int) -> int:
        """Sleep until the mark is no longer ``seen``, or ``timeout`` seconds have passed; returns the mark."""
        until = time.monotonic() + timeout
        while self._heard == seen:
            left = until - time.monotonic()
            if left <= 0:
                break
            if self._listening.acquire(blocking=False):
                try:
                    # Looked at again: who commits rings only when he finds somebody listening.
                    if self._heard == seen:
                        self._listen(left)
                finally:
                    self._listening.release()
            else:
                time.sleep(min(LOOK, left))
        return self._heard

    def _listen(self, seconds: float) -> None:
        try:
            session = self._asked()
            if session is None:
                time.sleep(min(seconds, RECONNECT / 10))
                return
            waiting = select.poll()  # looked up now: gevent's, where it has patched this one
            waiting.register(session.fileno(), select.POLLIN)
            waiting.register(self._bell, select.POLLIN)
            for ready, _ in waiting.poll(max(1, int(seconds * 1000))):
                if ready == self._bell:
                    self._silence()
                else:
                    self._read(session)
            if self._asked_until and time.monotonic() > self._asked_until + LATE:
                raise exceptions.TimeoutError("the server is silent")
        except (exceptions.RedisError, OSError):
            # What was said meanwhile is not known, so it counts as something.
            self._drop()
            self._hear()

    def _asked(self) -> Session | None:
        """The connection, on which the server has been asked for the next word."""
        if self._session is None:
            self._session = self._connect()
        if self._session is not None and not self._asked_until:
            milliseconds = int(BLOCK * 1000)
            self._session.send(b"XREAD", b"BLOCK", milliseconds, b"STREAMS", self._stream, self._after)
            self._asked_until = time.monotonic() + BLOCK
        return self._session

    def _read(self, session: Session) -> None:
        answer = session.answer()
        self._asked_until = 0.0
        if answer:
            self._after = answer[0][1][-1][0]
            self._hear()

    def _silence(self) -> None:
        with suppress(OSError):
            os.read(self._bell, 4096)

    def _connect(self) -> Session | None:
        if time.monotonic() - self._lost_at < RECONNECT:
            return None
        try:
            return self._database.connect()
        except StoreError:
            self._lost_at = time.monotonic()
            return None

    def _drop(self) -> None:
        session, self._session = self._session, None
        self._asked_until, self._lost_at = 0.0, time.monotonic()
        if session is not None:
            session.close()

    def close(self) -> None:
        """Stop listening; the next wait begins again."""
        session, self._session = self._session, None
        self._asked_until = 0.0
        if session is not None:
            session.close()

    def forget(self) -> None:
        """In a child: the connection, the lock and the bell are the parent's."""
        session, self._session = self._session, None
        self._asked_until = 0.0
        if session is not None:
            session.leave_to_the_parent()
        self._hush()
        self._begin()

    def _begin(self) -> None:
        self._listening = threading.Lock()
        self._bell, self._ring = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._ring, False)
        self._hush = weakref.finalize(self, _close_both, self._bell, self._ring)


def _close_both(*descriptors: int) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)


_ALL: weakref.WeakSet[Wakeups] = weakref.WeakSet()


def _after_fork() -> None:
    for wakeups in list(_ALL):
        wakeups.forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
