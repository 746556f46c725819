"""Connections to one SQLite file that survive threads and other processes, and are not there when this one forks."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from celeriac.errors import StoreCorrupt, StoreError, StoreReadOnly, StoreReplaced, StoreUnavailable
from celeriac.store.clock import lease_now
from celeriac.store.sql import statements
from celeriac.store.sqlite import log
from celeriac.store.sqlite.forks import closed_at_forks
from celeriac.store.sqlite.log import FileId, file_id

#: Seconds a statement waits for another process's transaction.
BUSY_TIMEOUT = 10.0
#: RETURNING (3.35) and STRICT tables (3.37).
OLDEST_SQLITE = (3, 37, 0)
#: Pages (of 4 KiB) after which SQLite folds the log back by itself.
AUTOCHECKPOINT_PAGES = 4000

#: "CLRC": tells a celeriac file from any other SQLite file.
APPLICATION_ID = 0x434C5243
#: One statement, since another process may be creating the schema.
_IDENTITY = """
SELECT user_version, application_id, (SELECT count(*) FROM sqlite_master)
FROM pragma_user_version, pragma_application_id
"""

_SYNCHRONOUS = {"normal": "NORMAL", "full": "FULL"}


STATEMENTS = statements("sqlite")


class Session(sqlite3.Connection):
    """SQLite's connection, with the dialect's statements."""

    lane_by_lane = True

    def run(self, name: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run a statement of the files by its name."""
        return self.execute(STATEMENTS[name], parameters)

    def lock(self, key: str) -> None:
        """Whoever writes has the whole file for himself."""


class Connection:
    """One lazily opened connection behind one lock.

    No connection is open across a fork: SQLite's locks do not pass to a child,
    and a child that inherited a connection can lose a write that was committed.
    """

    def __init__(self, database: Database, *, patient: bool = True) -> None:
        self._database = database
        self._patient = patient
        self._raw: Session | None = None
        self._log_file: FileId | None = None
        self._openings = 0
        self._commits = 0
        self.lock = threading.RLock()
        closed_at_forks(self)

    def raw(self) -> Session:
        """The open connection; the caller holds ``lock``.

        Raises:
            StoreReplaced: the path leads to another file by now, or to none.
        """
        if self._raw is not None:
            self._database.check_same(self._log_file)
        else:
            self._raw = self._database.connect()
            self._log_file = self._database.log.file()
            self._openings += 1
            if not self._patient:
                # SQLite's own wait sleeps up to 100 ms at a time and so comes
                # late; _begin() sleeps shorter.
                self._raw.execute("PRAGMA busy_timeout = 0")
        return self._raw

    def data_version(self) -> int:
        """Changes with every commit of another connection; asked some hundred times a second, so without ado."""
        with self.lock:
            try:
                # Whether the file is still the same, whoever reads or writes it asks.
                version: int = (self._raw or self.raw()).execute("PRAGMA data_version").fetchone()[0]
            except sqlite3.DatabaseError as error:
                raise self._database.translate(error) from error
        # Each connection counts from anew: one opened again, as after a fork,
        # could otherwise show the number that was seen before.
        return version + (self._openings << 32)

    def close(self) -> None:
        with self.lock:
            self.drop()

    def __del__(self) -> None:
        # Of a store that nobody closed, as most apps'; Python 3.13 warns of what it closes itself.
        self.drop()

    def drop(self) -> None:
        """Close; the caller holds ``lock``."""
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Run single statements; errors come out as store errors."""
        with self.lock, self._database.translated():
            yield self.raw()

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One transaction, begun with the write lock in hand."""
        with self.lock, self._database.translated():
            raw = self.raw()
            # Begun inside: a time limit may be raised at any point, and what it
            # left open would lock the file for everybody.
            try:
                self._begin(raw)
                yield raw
                raw.execute("COMMIT")
            except BaseException:
                if raw.in_transaction:
                    raw.execute("ROLLBACK")
                raise
            self._commits += 1
            if not self._commits % log.COMMITS_A_LOOK:
                self._database.log.bound(raw)

    def _begin(self, raw: sqlite3.Connection) -> None:
        if raw.in_transaction:  # interrupted a second time, while it rolled back
            raw.execute("ROLLBACK")
        _insist(raw, "BEGIN IMMEDIATE", self._database.busy_timeout)


class Database:
    """One file: how to open it, and the process's shared connections to it."""

    def __init__(self, path: Path, *, synchronous: str = "normal", busy_timeout: float = BUSY_TIMEOUT) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreError(str(path), f"SQLite {sqlite3.sqlite_version} is linked; 3.37 or newer is needed")
        self.path = path
        if synchronous.lower() not in _SYNCHRONOUS:
            raise StoreError(str(path), f"synchronous is {synchronous!r}, and may be {' or '.join(_SYNCHRONOUS)}")
        self.synchronous = _SYNCHRONOUS[synchronous.lower()]
        self.busy_timeout = busy_timeout
        self.log = log.Log(path)
        self._name = str(path)
        self._file: FileId | None = None
        self.writer = Connection(self, patient=False)
        self.reader = Connection(self)

    def connect(self) -> Session:
        """A new connection with celeriac's settings.

        Raises:
            StoreReadOnly, StoreCorrupt, StoreUnavailable: naming the file.
        """
        with self.translated():
            self._check_path()
            raw = sqlite3.connect(
                self.path,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
                factory=Session,
            )
            try:
                self._check_owner(raw)
                self._configure(raw)
                self._check_file()
            except BaseException:
                raw.close()
                raise
            return raw

    def reading(self) -> AbstractContextManager[Session]:
        """Run single statements."""
        return self.reader.reading()

    #: SQLite chooses its plans by the schema alone.
    scanning = reading

    def writing(self) -> AbstractContextManager[Session]:
        """One transaction, begun with the write lock in hand."""
        return self.writer.writing()

    #: No write waits longer than ``busy_timeout``.
    publishing = writing

    def now(self) -> float:
        """Wall clock, seconds since the epoch."""
        return time.time()

    def lease_now(self) -> float:
        """Lease clock, seconds since boot."""
        return lease_now()

    def _check_file(self) -> None:
        """A connection that is opened again, as after a fork, must lead to the same file."""
        if self._file is None:
            self._file = file_id(self._name)
        else:
            self.check_same(None)

    @property
    def replaced(self) -> bool:
        """Whether the path leads to another file by now, or to none."""
        return self._file is not None and file_id(self._name) != self._file

    def check_same(self, log_file: FileId | None) -> None:
        """SQLite goes on with a file that has no name any more; whoever opens the path gets another.

        Raises:
            StoreReplaced: the path does not lead to the file that was opened, or its log is gone.
        """
        if self.replaced:
            raise StoreReplaced(str(self.path), "it was deleted, moved or replaced")
        if log_file is not None and self.log.file() != log_file:
            raise StoreReplaced(str(self.path), f"its log {self.log.path.name} was deleted, moved or replaced")

    def _configure(self, raw: sqlite3.Connection) -> None:
        # SQLite does not wait here when two processes are the first at once.
        _insist(raw, "PRAGMA journal_mode = WAL", self.busy_timeout)
        raw.execute(f"PRAGMA synchronous = {self.synchronous}")
        raw.execute(f"PRAGMA wal_autocheckpoint = {AUTOCHECKPOINT_PAGES}")
        raw.execute("PRAGMA journal_size_limit = 67108864")
        raw.execute("PRAGMA cache_size = -2000")
        raw.execute("PRAGMA temp_store = MEMORY")
        # Reading opens the log, and so makes it: whose log it is is known from here on.
        identity(raw)

    def _check_path(self) -> None:
        folder = self.path.parent
        try:
            if not folder.is_dir():
                raise StoreUnavailable(str(self.path), f"the folder {folder} does not exist; create it")
            targets = [self.path, folder] if self.path.exists() else [folder]
        except PermissionError as error:
            raise StoreReadOnly(str(self.path), f"{folder} may not be entered") from error
        if self.path.is_dir():
            raise StoreCorrupt(str(self.path), "it is a folder")
        for target in targets:
            # root passes access() on a read-only mode, and may write it as well.
            if not os.access(target, os.W_OK):
                raise StoreReadOnly(str(self.path), f"{target} may not be written")

    def _check_owner(self, raw: sqlite3.Connection) -> None:
        """Refuse another application's file before anything is changed in it: it keeps the journal mode."""
        raw.execute(f"PRAGMA busy_timeout = {int(self.busy_timeout * 1000)}")
        _, application, tables = identity(raw)
        if application != APPLICATION_ID and tables:
            raise StoreCorrupt(str(self.path), "its tables belong to another application")

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise SQLite's errors as store errors that name the file."""
        try:
            yield
        except sqlite3.Error as error:
            raise self.translate(error) from error

    def translate(self, error: sqlite3.Error) -> Exception:
        text = str(error)
        where = str(self.path)
        if "readonly" in text:
            return StoreReadOnly(where, text)
        if "malformed" in text or "not a database" in text:
            return StoreCorrupt(where, text)
        if isinstance(error, sqlite3.OperationalError):
            return StoreUnavailable(where, text)
        return StoreError(where, text)

    def close(self) -> None:
        self.writer.close()
        self.reader.close()


def identity(raw: sqlite3.Connection) -> tuple[int, int, int]:
    """The schema's version, whose it is, and how many tables and indexes there are, all at one moment."""
    found: tuple[int, int, int] = raw.execute(_IDENTITY).fetchone()
    return found


def _insist(raw: sqlite3.Connection, statement: str, seconds: float) -> None:
    """Execute, waiting for other processes in sleeps of at most 5 ms."""
    pause, give_up = 0.0002, 0.0
    while True:
        try:
            raw.execute(statement)
        except sqlite3.OperationalError as error:
            now = time.monotonic()
            give_up = give_up or now + seconds
            if not _is_busy(error) or now > give_up:
                raise
        else:
            return
        time.sleep(pause)
        pause = min(pause * 2, 0.005)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return "locked" in str(error) or "busy" in str(error)
