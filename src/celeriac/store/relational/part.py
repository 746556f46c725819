"""What every part of a SQL store stands on."""

from __future__ import annotations

from celeriac.store.relational.session import Database

#: Seconds the end of a task is remembered that no worker settled: purged, refused.
REMEMBERED = 86_400.0
READY, DELAYED, CLAIMED, PARKED, SUSPECT, RELAYED, RELAYED_SUSPECT, LANED, HELD = range(9)


class Part:
    """A part of the store: the database and its clocks."""

    database: Database

    def now(self) -> float:
        """Wall clock, seconds since the epoch."""
        return self.database.now()

    def lease_now(self) -> float:
        """Lease clock, seconds."""
        return self.database.lease_now()

    @staticmethod
    def _pattern(glob: str | None) -> str | None:
        """A shell pattern in the form that the dialect's statements take."""
        return glob
