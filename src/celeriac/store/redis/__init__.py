"""One Redis as broker, ledger, key registry and dead-letter office."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

from celeriac.errors import StoreTooNew, TransactionError
from celeriac.settings import RedisURL
from celeriac.store.protocols import Publisher
from celeriac.store.redis.checks import check
from celeriac.store.redis.chords import ChordsPart
from celeriac.store.redis.database import CONNECT_TIMEOUT, Database
from celeriac.store.redis.deadletters import DeadLettersPart
from celeriac.store.redis.fanout import FanoutPart
from celeriac.store.redis.keys import KeysPart
from celeriac.store.redis.ledger import LedgerPart
from celeriac.store.redis.packing import text
from celeriac.store.redis.queue import QueuePart
from celeriac.store.redis.scripts import SCRIPTS, Script
from celeriac.store.redis.wakeups import COMMITS, WORK, Wakeups

#: What is under the keys, and how; a change that an older version would misread makes it one more.
VERSION = 1


class RedisStore(QueuePart, FanoutPart, LedgerPart, ChordsPart, KeysPart, DeadLettersPart):
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
        self._open(Database(url, self.scripts, timeout=timeout), COMMITS)
        try:
            check(self.database, url.durability)
            self._uuid = self._make()
        except BaseException:
            self.close()
            raise

    def _open(self, database: Database, stream: str) -> None:
        self.database = database
        self._wakeups = Wakeups(database, stream)

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

    @cached_property
    def for_workers(self) -> RedisStore:
        """The same store, on the same connections, whose waits end with what an idle worker can take.

        The commits of this process end them too; the settlements of others do not.
        """
        store = object.__new__(type(self))
        store.__dict__.update(self.__dict__)
        store._open(self.database, WORK)
        return store

    def mark(self) -> int:
        return self._wakeups.mark()

    def wait(self, timeout: float, seen: int) -> int:
        return self._wakeups.wait(timeout, seen)

    def within(self, connection: object) -> Publisher:
        raise TransactionError(
            f"the broker is a Redis, {self.location}, which no database's transaction reaches. Publish after the commit "
            "instead (Django: delay_on_commit), or keep the broker in the application's PostgreSQL"
        )

    def keeper(self) -> RedisStore:
        """A second store on the same keys with connections of its own, for a thread that must never wait."""
        store = object.__new__(type(self))
        store.__dict__.update(self.__dict__)
        store.__dict__.pop("for_workers", None)
        store._open(Database(self.database.url, self.scripts, timeout=self.database.timeout), COMMITS)
        return store

    def fold_log(self) -> bool:
        """The server sees to its log itself."""
        return False

    def close(self) -> None:
        self._wakeups.close()
        self.database.close()
