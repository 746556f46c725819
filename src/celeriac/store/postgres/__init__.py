"""One PostgreSQL schema as broker, ledger, key registry and dead-letter office."""

from __future__ import annotations

import fnmatch

from celeriac.errors import LeadsElsewhere
from celeriac.store.guest import Guest
from celeriac.store.postgres.borrowed import Borrowed
from celeriac.store.postgres.database import CONNECT_TIMEOUT, SCHEMA, Database
from celeriac.store.postgres.deadletters import PostgresDeadLetters
from celeriac.store.postgres.ledger import PostgresLedger
from celeriac.store.postgres.migrate import migrate
from celeriac.store.postgres.notices import Notices
from celeriac.store.postgres.pruning import Pruner
from celeriac.store.postgres.queue import PostgresQueue
from celeriac.store.postgres.vacuum import Vacuum
from celeriac.store.protocols import ANY_NEWS, News, Within
from celeriac.store.relational.chains import ChainsPart
from celeriac.store.relational.checkpoints import CheckpointsPart
from celeriac.store.relational.chords import ChordsPart
from celeriac.store.relational.circuits import CircuitsPart
from celeriac.store.relational.failures import FailuresPart
from celeriac.store.relational.fanout import FanoutPart
from celeriac.store.relational.keys import KeysPart
from celeriac.store.relational.outbox import OutboxPart
from celeriac.store.relational.workflows import WorkflowsPart


class PostgresStore(
    PostgresQueue,
    OutboxPart,
    FanoutPart,
    PostgresLedger,
    ChordsPart,
    KeysPart,
    PostgresDeadLetters,
    FailuresPart,
    CircuitsPart,
    WorkflowsPart,
    CheckpointsPart,
    ChainsPart,
):
    """The store in one schema; see ``celeriac.store.protocols.Store``.

    Args:
        conninfo: what libpq takes: a URL, or ``host=… dbname=…``.
        schema: holds all tables; made where it is missing.
        timeout: seconds that connecting may take.

    Raises:
        StoreUnavailable, StoreReadOnly, StoreTooNew, StoreError: naming the server.
    """

    database: Database

    def __init__(self, conninfo: str, *, schema: str = SCHEMA, timeout: float = CONNECT_TIMEOUT) -> None:
        self.database = Database(conninfo, schema, timeout=timeout)
        try:
            migrate(self.database)
        except BaseException:
            self.database.close()
            raise
        self._notices = Notices(self.database)
        self._pruner = Pruner(self.database, self.now)
        self._vacuum = Vacuum(self.database)
        self._uuid: str | None = None

    @property
    def location(self) -> str:
        return self.database.location

    @property
    def replaced(self) -> bool:
        """A server is never another one behind our back."""
        return False

    @property
    def uuid(self) -> str:
        if self._uuid is None:
            with self.database.reading() as session:
                row = session.raw.execute("SELECT value FROM fact WHERE name = 'uuid'").fetchone()
                assert row is not None
                self._uuid = str(row[0])
        return self._uuid

    def rouse(self) -> None:
        self._notices.rouse()

    def mark(self, news: News = ANY_NEWS) -> int:
        return self._notices.mark(news)

    def wait(self, timeout: float, seen: int, news: News = ANY_NEWS) -> int:
        return self._notices.wait(timeout, seen, news)

    def within(self, guest: Guest) -> Within:
        if guest.dialect != "postgres":
            raise LeadsElsewhere(f"the connection leads to another database than the broker, {self.location}")
        return Borrowed(self, guest)

    def keeper(self) -> PostgresStore:
        """A second store on the same schema with connections of its own, for a thread that must never wait."""
        keeper = PostgresStore(self.database.conninfo, schema=self.database.schema, timeout=self.database.timeout)
        keeper.rules = self.rules
        return keeper

    def tidy(self) -> bool:
        """Vacuum the table of what waits when much of it is gone; warns of a transaction that is in the way."""
        return self._vacuum.tidy()

    def close(self) -> None:
        self._notices.close()
        self.database.close()

    @staticmethod
    def _pattern(glob: str | None) -> str | None:
        """A shell pattern as PostgreSQL's regular expression."""
        if glob is None:
            return None
        # Python's translation ends in \Z, inside a group with flags that PostgreSQL does not know.
        return "^" + fnmatch.translate(glob.replace("[^", "[!")).removeprefix("(?s:").removesuffix(r")\Z") + "$"
