"""Waits for commits, of whatever process: `PRAGMA data_version` tells of them, and file events tell when to ask."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from celeriac.store.events import FileEvents
from celeriac.store.sqlite.database import Connection, Database, Session

logger = logging.getLogger(__name__)

#: Seconds between looks at the file: when a commit is likely, and when idle where no events come.
QUICK_LOOK, IDLE_LOOK = 0.001, 0.0065
#: Seconds of quick looks, at the beginning of a wait without events and after an event.
QUICK_FOR = 0.1
#: Seconds between looks where events come, in case they do not.
BACKSTOP = 0.25
#: Commits in a row that no event told of, after which none is expected any more; seconds that a commit may show later
#: than it is written.
UNTOLD, SLOW = 3, 1.0


class _Watching(Connection):
    """A connection, and the events of the log it writes to: both of them open, closed and lost to a fork together."""

    events: FileEvents | None = None

    def raw(self) -> Session:
        opened = self._raw is None
        raw = super().raw()
        if opened:
            self.events = FileEvents.of(self._database.log.path)
        return raw

    def drop(self) -> None:
        super().drop()
        if self.events is not None:
            self.events.close()
            self.events = None


class Commits:
    """Marks, and waits for, the commits to one file."""

    def __init__(self, database: Database) -> None:
        self._path = database.log.path
        self._connection = _Watching(database)
        self._deaf = False
        self._untold = 0
        self._told_at = float("-inf")

    def mark(self) -> int:
        """A number that changes with every commit."""
        return self._connection.data_version()

    def wait(self, timeout: float, seen: int) -> int:
        """Sleep until the mark is no longer ``seen``, or ``timeout`` seconds have passed; returns the mark."""
        with self._listening() as events:
            now = time.monotonic()
            until = now + timeout
            # Sleeping comes first: a caller in a loop always lets others run.
            quick_until = now + (QUICK_FOR if events is None else QUICK_LOOK)
            while True:
                left = max(0.0, until - now)
                self._pause(events, quick=now < quick_until, at_most=left)
                version = self.mark()
                if events is not None and self._took(events):
                    # The log is written before the commit shows.
                    self._told_at = time.monotonic()
                    self._untold, quick_until = 0, self._told_at + QUICK_FOR
                if version != seen:
                    self._judge(events)
                    return version
                if not left:
                    return version
                now = time.monotonic()

    @contextmanager
    def _listening(self) -> Iterator[FileEvents | None]:
        """The events, for the first who waits; others look for themselves, as all do where none come."""
        events = None if self._deaf else self._connection.events
        if events is None or not events.listener.acquire(blocking=False):
            yield None
            return
        try:
            yield events
        finally:
            events.listener.release()

    def _pause(self, events: FileEvents | None, *, quick: bool, at_most: float) -> None:
        if quick:
            time.sleep(min(QUICK_LOOK, at_most))
        elif events is None or events is not self._connection.events:  # a fork has closed them
            time.sleep(min(IDLE_LOOK, at_most))
        else:
            events.wait(min(BACKSTOP, at_most))

    def _took(self, events: FileEvents) -> bool:
        with self._connection.lock:  # a fork closes them, and the number may be another file's by now
            return events is self._connection.events and events.take()

    def _judge(self, events: FileEvents | None) -> None:
        """Some file systems know of no events, or of those of one machine only."""
        if events is not self._connection.events:
            return  # opened anew since, as at a fork: what came in between was told to nobody
        if time.monotonic() - self._told_at < SLOW:
            return  # its event may have come with that of the commit before
        self._untold = 0 if events is None else self._untold + 1
        if self._untold >= UNTOLD:
            self._deaf = True
            logger.info("no events come of %s: it is looked at every %.1f ms", self._path, IDLE_LOOK * 1000)

    def close(self) -> None:
        """Close the connection; the next mark opens another."""
        self._connection.close()
