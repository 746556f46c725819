"""What every part of the Redis store stands on."""

from __future__ import annotations

from celeriac.store.redis.database import Database

#: Rows of one kind that one script deletes or takes back, so that nobody waits long for it.
AT_ONCE = 500
#: Seconds the end of a task is remembered that no worker settled: purged, refused.
REMEMBERED = 86_400


class Part:
    """A part of the store: the database and its clocks."""

    database: Database

    def now(self) -> float:
        """Wall clock, seconds since the epoch: the server's."""
        return self.database.now()

    def lease_now(self) -> float:
        """Lease clock, seconds: the server's."""
        return self.now()
