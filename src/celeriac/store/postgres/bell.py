"""The word that goes out after a commit, to those who wait for such."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import psycopg

from celeriac.errors import StoreError
from celeriac.store.postgres.news import channels, command
from celeriac.store.postgres.session import Session
from celeriac.store.protocols import News

#: Seconds between two words of one process on the same matter: what is committed meanwhile shares the later one.
APART = 0.004


class Bell:
    """Tells who listens that something was committed: after the commit, and at most every ``APART`` seconds.

    A transaction that says ``NOTIFY`` holds a lock of the whole database while its commit reaches the disk, so that no
    two of them share that wait. Said by itself, afterwards, it holds the lock for some microseconds. The last word of a
    burst is said by a thread, so that none is owed for longer than ``APART``; a process that is killed in between
    leaves it to the listeners' own look, once a second.
    """

    def __init__(self, schema: str, sessions: Callable[[], AbstractContextManager[Session]]) -> None:
        self._sessions = sessions
        self._commands = {
            news: command("NOTIFY", [name for kind, name in channels(schema).items() if kind & news])
            for news in range(1, sum(News) + 1)
        }
        self.forget()
        _ALL.add(self)

    def forget(self) -> None:
        """In a child: what is owed is the parent's, and so is the thread."""
        self._lock = threading.RLock()  # a signal's handler may end up here as well
        self._said_at = dict.fromkeys(map(int, News), float("-inf"))
        self._owed = 0
        self._due = threading.Event()
        self._thread: threading.Thread | None = None

    def command(self, news: int) -> bytes:
        """What is said to those who wait for any of this."""
        return self._commands[news]

    def ring(self, session: Session, news: int) -> None:
        """Say it on this session, outside a transaction, or shortly afterwards."""
        if now_due := self._take(news):
            # What was committed is committed, whether anybody hears of it or not.
            with suppress(psycopg.Error):
                session.tell(self._commands[now_due])

    def _take(self, news: int) -> int:
        """Which of these, and of what is owed, may be said now; the others are owed."""
        with self._lock:
            self._owed |= news
            due = self._due_of(self._owed)
            self._owed &= ~due
            if self._owed and not self._due.is_set():
                self._remind()
            return due

    def _due_of(self, news: int) -> int:
        now, due = time.monotonic(), 0
        for kind, said_at in self._said_at.items():
            if news & kind and now - said_at >= APART:
                self._said_at[kind] = now
                due |= kind
        return due

    def _remind(self) -> None:
        self._due.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="celeriac-news", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        due = self._due
        while due.wait():
            time.sleep(APART)
            if self._thread is not threading.current_thread():
                return
            self.say_what_is_owed()

    def say_what_is_owed(self, *, all_of_it: bool = False) -> None:
        """Say what is due by now, or all that is owed."""
        with self._lock:
            due = self._owed if all_of_it else self._due_of(self._owed)
            self._owed &= ~due
            if not self._owed:
                self._due.clear()
        if due:
            with suppress(StoreError), self._sessions() as session:
                session.tell(self._commands[due])


_ALL: weakref.WeakSet[Bell] = weakref.WeakSet()


@atexit.register
def _say_the_last() -> None:
    for bell in list(_ALL):
        bell.say_what_is_owed(all_of_it=True)
