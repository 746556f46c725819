"""One Redis as broker, ledger, key registry and dead-letter office."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import ClassVar

from celeriac.errors import LeadsElsewhere, StoreTooNew
from celeriac.settings import RedisURL
from celeriac.store.guest import Guest
from celeriac.store.protocols import ANY_NEWS, News, Within
from celeriac.store.redis.chains import ChainsPart
from celeriac.store.redis.checkpoints import CheckpointsPart
from celeriac.store.redis.checks import check
from celeriac.store.redis.chords import ChordsPart
from celeriac.store.redis.circuits import CircuitsPart
from celeriac.store.redis.database import CONNECT_TIMEOUT, Database
from celeriac.store.redis.deadletters import DeadLettersPart
from celeriac.store.redis.failures import FailuresPart
from celeriac.store.redis.fanout import FanoutPart
from celeriac.store.redis.keys import KeysPart
from celeriac.store.redis.ledger import LedgerPart
from celeriac.store.redis.outbox import OutboxPart
from celeriac.store.redis.packing import text
from celeriac.store.redis.pauses import PausesPart
from celeriac.store.redis.queue import QueuePart
from celeriac.store.redis.scripts import SCRIPTS, Script
from celeriac.store.redis.wakeups import Wakeups
from celeriac.store.redis.workflows import WorkflowsPart

#: What is under the keys, and how; a change that an older version would misread makes it one more.
VERSION = 1


class RedisStore(
    QueuePart,
    PausesPart,
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
    """The store under one prefix; see ``celeriac.store.protocols.Store``.

    Args:
        url: of the server, with the prefix.
        timeout: seconds that connecting, and each step of a publish, may take.

    Raises:
        StoreUnavailable, StoreTooNew, StoreError: naming the server.
    """

    database: Database
    scripts: ClassVar[Mapping[str, Script]] = SCRIPTS

    def __init__(self, url: RedisURL, *, timeout: float = CONNECT_TIMEOUT) -> None:
        self._open(Database(url, self.scripts, timeout=timeout))
        try:
            check(self.database, url.durability)
            self._uuid = self._make()
        except BaseException:
            self.close()
            raise

    def _open(self, database: Database) -> None:
        self.database = database
        self._wakeups = Wakeups(database)

    def _make(self) -> str:
        version, name = self.database.call("schema.open", [VERSION, str(uuid.uuid4())], patience=self.database.timeout)
        if int(version) > VERSION:
            raise StoreTooNew(self.location, int(version), VERSION)
        return text(name)

    @property
    def location(self) -> str:
        return self.database.location

    @property
    def replaced(self) -> bool:
        """A server is never another one behind our back."""
        return False

    @property
    def uuid(self) -> str:
        return self._uuid

    def rouse(self) -> None:
        self._wakeups.rouse()

    def mark(self, news: News = ANY_NEWS) -> int:
        return self._wakeups.mark(news)

    def wait(self, timeout: float, seen: int, news: News = ANY_NEWS) -> int:
        return self._wakeups.wait(timeout, seen, news)

    def within(self, guest: Guest) -> Within:
        raise LeadsElsewhere(f"the broker is a Redis, {self.location}, which no database's transaction reaches")

    def keeper(self) -> RedisStore:
        """A second store on the same keys with connections of its own, for a thread that must never wait."""
        store = object.__new__(type(self))
        store.__dict__.update(self.__dict__)
        store._open(Database(self.database.url, self.scripts, timeout=self.database.timeout))
        return store

    def tidy(self) -> bool:
        """The server sees to its memory and its log itself."""
        return False

    def close(self) -> None:
        self._wakeups.close()
        self.database.close()
