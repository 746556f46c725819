"""One SQLite file as broker, ledger, key registry and dead-letter office."""

from __future__ import annotations

from pathlib import Path

from celeriac.errors import LeadsElsewhere
from celeriac.store.guest import Guest
from celeriac.store.protocols import ANY_NEWS, News, Within
from celeriac.store.relational.chains import ChainsPart
from celeriac.store.relational.checkpoints import CheckpointsPart
from celeriac.store.relational.chords import ChordsPart
from celeriac.store.relational.circuits import CircuitsPart
from celeriac.store.relational.deadletters import DeadLettersPart
from celeriac.store.relational.failures import FailuresPart
from celeriac.store.relational.fanout import FanoutPart
from celeriac.store.relational.keys import KeysPart
from celeriac.store.relational.ledger import LedgerPart
from celeriac.store.relational.outbox import OutboxPart
from celeriac.store.relational.workflows import WorkflowsPart
from celeriac.store.sqlite import log
from celeriac.store.sqlite.borrowed import Borrowed
from celeriac.store.sqlite.commits import Commits
from celeriac.store.sqlite.database import BUSY_TIMEOUT, Database
from celeriac.store.sqlite.migrate import migrate
from celeriac.store.sqlite.queue import SQLiteQueue


class SQLiteStore(
    SQLiteQueue,
    OutboxPart,
    FanoutPart,
    LedgerPart,
    ChordsPart,
    KeysPart,
    DeadLettersPart,
    FailuresPart,
    CircuitsPart,
    WorkflowsPart,
    CheckpointsPart,
    ChainsPart,
):
    """The store in one file; see ``celeriac.store.protocols.Store``.

    Args:
        path: the file; its folder must exist.
        synchronous: ``normal`` survives the death of any process, ``full``
            also a power cut, at about a tenth of the rate of small writes.
        busy_timeout: seconds a write waits for another process's.

    Raises:
        StoreReadOnly, StoreCorrupt, StoreTooNew, StoreUnavailable: naming the file.
    """

    def __init__(self, path: Path | str, *, synchronous: str = "normal", busy_timeout: float = BUSY_TIMEOUT) -> None:
        self.database = Database(Path(path).absolute(), synchronous=synchronous, busy_timeout=busy_timeout)
        try:
            migrate(self.database)
        except BaseException:
            self.database.close()
            raise
        self._commits = Commits(self.database)
        self._uuid: str | None = None

    database: Database

    @property
    def location(self) -> str:
        return str(self.database.path)

    @property
    def replaced(self) -> bool:
        """Whether the path leads to another file by now, or to none."""
        return self.database.replaced

    @property
    def uuid(self) -> str:
        if self._uuid is None:
            with self.database.reader.reading() as raw:
                self._uuid = str(raw.execute("SELECT value FROM fact WHERE name = 'uuid'").fetchone()[0])
        return self._uuid

    def rouse(self) -> None:
        """Whatever frees a slot is a commit, which is seen."""

    def mark(self, news: News = ANY_NEWS) -> int:
        return self._commits.mark()

    def wait(self, timeout: float, seen: int, news: News = ANY_NEWS) -> int:
        return self._commits.wait(timeout, seen)

    def within(self, guest: Guest) -> Within:
        if guest.dialect != "sqlite":
            raise LeadsElsewhere(f"the connection leads to another database than the broker, {self.location}")
        return Borrowed(self, guest)

    def keeper(self) -> SQLiteStore:
        """A second store on the same file with connections of its own, for a thread that must never wait."""
        path, synchronous = self.database.path, self.database.synchronous.lower()
        keeper = SQLiteStore(path, synchronous=synchronous, busy_timeout=self.database.busy_timeout)
        keeper.rules = self.rules
        return keeper

    def tidy(self, bound: int = log.WAL_BOUND) -> bool:
        """Truncate the write-ahead log when it is larger than ``bound`` bytes; true when that was done.

        It cannot be while some process reads from it all the while.
        """
        if self.database.log.size() <= bound:
            return False
        with self.database.writer.reading() as raw:
            return log.fold(raw, log.PRUNERS_TRY)

    def close(self) -> None:
        self._commits.close()
        self.database.close()
