"""What every part of the SQLite store stands on."""

from __future__ import annotations

import time

from celeriac.store.clock import lease_now
from celeriac.store.sqlite.database import Database

#: Seconds the end of a task is remembered that no worker settled: purged, refused.
REMEMBERED = 86_400.0
READY, DELAYED, CLAIMED, PARKED, SUSPECT = range(5)


class Part:
    """A part of the store: the database and its clocks."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def now(self) -> float:
        """Wall clock, seconds since the epoch."""
        return time.time()

    def lease_now(self) -> float:
        """Lease clock, seconds since boot."""
        return lease_now()
