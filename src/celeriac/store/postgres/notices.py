"""Waits for commits, of whatever process and host: the server tells who listens."""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from contextlib import suppress
from typing import Any

import psycopg

from celeriac.errors import StoreUnavailable
from celeriac.store.postgres.database import Database, leave_to_the_parent
from celeriac.store.postgres.news import command
from celeriac.store.protocols import ANY_NEWS, News

#: Seconds between looks of those for whom another thread listens.
LOOK = 0.005
#: Seconds until a lost connection is tried again.
RECONNECT = 1.0


class Notices:
    """Marks, and waits for, the commits to one schema.

    One thread of a process listens at a time, on one connection, to the kinds of news that were ever asked for in this
    process; the others see by the mark what it heard.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kinds = {channel: kind for kind, channel in database.channels.items()}
        self._heard = dict.fromkeys(self._kinds.values(), 0)
        self._wanted = 0
        #: What the connection listens to.
        self._listened = 0
        self._raw: psycopg.Connection[Any] | None = None
        self._listening = threading.Lock()
        self._lost_at = float("-inf")
        #: Read by who sleeps, written by who rouses him; made in the process that uses it.
        self._pipe: tuple[int, int] | None = None
        self._asleep = False
        _ALL.add(self)

    def mark(self, news: News = ANY_NEWS) -> int:
        """A number that changes with every word of such news; the first call begins to listen."""
        wanted = int(news)
        if wanted & ~self._listened and self._listening.acquire(blocking=False):
            try:
                self._listen_to(wanted)
            finally:
                self._listening.release()
        return self._sum(wanted)

    def wait(self, timeout: float, seen: int, news: News = ANY_NEWS) -> int:
        """Sleep until the mark is no longer ``seen``, or ``timeout`` seconds have passed; returns the mark."""
        until, wanted = time.monotonic() + timeout, int(news)
        while (mark := self._sum(wanted)) == seen:
            left = until - time.monotonic()
            if left <= 0:
                break
            if self._listening.acquire(blocking=False):
                try:
                    self._listen(left, wanted, seen)
                finally:
                    self._listening.release()
            else:
                self._leave_it_to_another(left, wanted)
        return mark

    def rouse(self) -> None:
        """Let who waits for work look for it."""
        self._count(int(News.WORK))
        if self._asleep and self._pipe is not None:
            with suppress(OSError):  # full: he is awake soon
                os.write(self._pipe[1], b"!")

    def _sum(self, wanted: int) -> int:
        return sum(heard for kind, heard in self._heard.items() if kind & wanted)

    def _leave_it_to_another(self, seconds: float, wanted: int) -> None:
        time.sleep(min(LOOK, seconds))
        if self._raw is not None and wanted & ~self._listened:
            # Whoever listens has not been told of this kind, and does not hear of it before he looks up.
            self._wanted |= wanted
            self._count(wanted & ~self._listened)

    def _listen(self, seconds: float, wanted: int, seen: int) -> None:
        try:
            if (wanted | self._wanted) & ~self._listened and self._listen_to(wanted):
                return
            if self._raw is None:
                self._sleep(min(seconds, RECONNECT), wanted, seen)
            elif self._sleep(seconds, wanted, seen, self._raw.fileno()):
                for notice in self._raw.notifies(timeout=0):
                    self._count(self._kinds.get(notice.channel, 0))
        except psycopg.Error:
            # What was said meanwhile is not known, so it counts as something.
            self._drop()
            self._count(int(ANY_NEWS))

    def _sleep(self, seconds: float, wanted: int, seen: int, connection: int = -1) -> bool:
        """Sleep until roused, or until the connection can be read, which is the answer."""
        # Not the driver's own wait: it would stop every greenlet of the process.
        waiting = select.poll()
        bell = self._bell()
        waiting.register(bell, select.POLLIN)
        if connection >= 0:
            waiting.register(connection, select.POLLIN)
        self._asleep = True
        try:
            if self._sum(wanted) != seen:
                return False  # roused before he slept
            ready = [number for number, _ in waiting.poll(max(1, int(seconds * 1000)))]
        finally:
            self._asleep = False
        if bell in ready:
            with suppress(OSError):
                os.read(bell, 512)
        return connection in ready

    def _bell(self) -> int:
        if self._pipe is None:
            self._pipe = os.pipe()
            for end in self._pipe:
                os.set_blocking(end, False)
        return self._pipe[0]

    def _count(self, news: int) -> None:
        for kind in self._heard:
            if kind & news:
                self._heard[kind] += 1

    def _listen_to(self, wanted: int) -> bool:
        """Listen to these as well, on a new connection where there is none."""
        self._wanted |= wanted
        if self._raw is None and time.monotonic() - self._lost_at < RECONNECT:
            return False
        new = self._wanted & ~(self._listened if self._raw is not None else 0)
        try:
            if self._raw is None:
                self._raw = self._database.connect()
            names = [channel for channel, kind in self._kinds.items() if kind & new]
            self._raw.execute(command("LISTEN", names), prepare=False)
        except (StoreUnavailable, psycopg.Error):
            self._drop()
            return False
        self._listened |= new
        # What was committed before it listened counts as heard, and so does what the driver may have heard just now.
        self._count(int(ANY_NEWS))
        return True

    def _drop(self) -> None:
        self._lost_at = time.monotonic()
        self.close()

    def close(self) -> None:
        """Stop listening; the next mark begins again."""
        raw, self._raw = self._raw, None
        self._listened = 0
        if raw is not None:
            raw.close()

    def __del__(self) -> None:
        self._close_pipe()

    def _close_pipe(self) -> None:
        pipe, self._pipe = self._pipe, None
        for end in pipe or ():
            with suppress(OSError):
                os.close(end)

    def forget(self) -> None:
        """In a child: the connection is the parent's."""
        self._listening = threading.Lock()
        raw, self._raw = self._raw, None
        self._listened = self._wanted = 0
        self._close_pipe()
        self._asleep = False
        if raw is not None:
            leave_to_the_parent(raw)


_ALL: weakref.WeakSet[Notices] = weakref.WeakSet()


def _after_fork() -> None:
    for notices in list(_ALL):
        notices.forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
