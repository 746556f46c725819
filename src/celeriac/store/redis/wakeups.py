"""Waits for commits, of whatever process and host: streams tell who reads them."""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from collections.abc import Iterable
from contextlib import suppress

from redis import exceptions

from celeriac.errors import StoreError
from celeriac.store.protocols import ANY_NEWS, News
from celeriac.store.redis.database import Database
from celeriac.store.redis.session import Session

#: Seconds between looks of those for whom another thread listens.
LOOK = 0.005
#: Seconds until a lost connection is tried again.
RECONNECT = 1.0
#: Seconds for which the server holds an answer back while there is none, and by which it may then be late.
BLOCK, LATE = 5.0, 5.0
#: The stream of each kind of news; one has a word for everything that is committed.
_STREAMS = {News.WORK: b"work", News.RESULTS: b"results", News.BROADCASTS: b"broadcast"}
_EVERYTHING = b"commits"


def _streams(news: News) -> list[bytes]:
    return [_EVERYTHING] if news == ANY_NEWS else [stream for kind, stream in _STREAMS.items() if kind & news]


class Wakeups:
    """Marks, and waits for, commits.

    One thread of a process listens at a time, on one connection, to all that was ever asked for in this process, and
    only while somebody waits: a busy process costs the server nothing. What was said meanwhile is in the stream, so
    nothing is missed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._heard: dict[bytes, int] = dict.fromkeys((*_STREAMS.values(), _EVERYTHING), 0)
        self._after: dict[bytes, bytes] = dict.fromkeys(self._heard, b"0-0")
        self._wanted: set[bytes] = set()
        #: What the server has been asked for, and until when it may hold the answer back.
        self._asked: set[bytes] = set()
        self._asked_until = 0.0
        self._session: Session | None = None
        self._lost_at = float("-inf")
        self._begin()
        _ALL.add(self)

    def mark(self, news: News = ANY_NEWS) -> int:
        """A number that changes with every word of such news that was heard."""
        return sum(self._heard[stream] for stream in _streams(news))

    def wait(self, timeout: float, seen: int, news: News = ANY_NEWS) -> int:
        """Sleep until the mark is no longer ``seen``, or ``timeout`` seconds have passed; returns the mark."""
        until = time.monotonic() + timeout
        self._wanted.update(_streams(news))
        while (mark := self.mark(news)) == seen:
            left = until - time.monotonic()
            if left <= 0:
                break
            if self._listening.acquire(blocking=False):
                try:
                    # Looked at again: who rouses rings only when he finds somebody listening.
                    if self.mark(news) == seen:
                        self._listen(left)
                finally:
                    self._listening.release()
            else:
                if self._wanted - self._asked:
                    self._ring_the_bell()  # who listens has not asked for all of it
                time.sleep(min(LOOK, left))
        return mark

    def rouse(self) -> None:
        """Let who waits for work look for it."""
        self._hear([_STREAMS[News.WORK]])
        if self._listening.locked():
            self._ring_the_bell()

    def _hear(self, streams: Iterable[bytes]) -> None:
        for stream in streams:
            self._heard[stream] += 1

    def _ring_the_bell(self) -> None:
        with suppress(OSError):  # full: who listens has been rung for already
            os.write(self._ring, b"!")

    def _listen(self, seconds: float) -> None:
        try:
            session = self._ask()
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
            self._lost_at = time.monotonic()
            self.close()
            self._hear(list(self._heard))

    def _ask(self) -> Session | None:
        """The connection, on which the server has been asked for the next word."""
        if self._session is not None and self._wanted - self._asked and self._asked_until:
            self.close()  # a question cannot be taken back
        if self._session is None:
            self._session = self._connect()
        if self._session is not None and not self._asked_until:
            self._asked = set(self._wanted)
            names = sorted(self._asked)
            keys = [self._database.base + name for name in names]
            after = [self._after[name] for name in names]
            self._session.send(b"XREAD", b"BLOCK", int(BLOCK * 1000), b"STREAMS", *keys, *after)
            self._asked_until = time.monotonic() + BLOCK
        return self._session

    def _read(self, session: Session) -> None:
        answer = session.answer()
        self._asked_until = 0.0
        for key, entries in answer or ():
            stream = key[len(self._database.base) :]
            self._after[stream] = entries[-1][0]
            self._hear([stream])

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
