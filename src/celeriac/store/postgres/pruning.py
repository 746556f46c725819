"""What is old goes in slices, each a transaction of its own that holds up nobody."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from celeriac.store.postgres.database import Database
from celeriac.store.relational import ledger

#: Seconds that what is spared is left alone, before all of it is looked at again.
LOOK_AGAIN = 60.0
#: Of the time, how much the server has to itself between slices; the longest pause in seconds.
REST, LONGEST_REST = 1.0, 0.1
#: Old rows of these may be spared: attempts and what a chord consists of, while their task has a dead letter, and how far
#: a task has come that waits or has one; what is kept of a chain that goes on, and the tree of a chord that waits.
_SPARING = frozenset(
    {
        "ledger.prune_groups",
        "ledger.prune_attempts",
        "ledger.prune_chord_parts",
        "dead_letters.prune_letter_chords",
        "checkpoints.prune_open",
        "chains.prune_steps",
        "chains.prune_holders",
    }
)


class Pruner:
    """Walks each kind of row from the oldest on, and never the same way twice.

    A slice that began at the front again would wade through all that the slices before have deleted: it stays in the
    index until vacuum has been there, which a transaction left open anywhere in the database can put off for hours.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._spared: dict[str, float] = {}
        self._looked_at = float("-inf")

    def prune(self, bounds: Sequence[tuple[str, float]]) -> int:
        """Delete by each statement what is older than its bound; returns how many rows."""
        now = self._clock()
        if now - self._looked_at > LOOK_AGAIN:
            self._spared.clear()
            self._looked_at = now
        return sum(self._walk(name, before) for name, before in bounds)

    def _walk(self, name: str, before: float) -> int:
        after, total = self._spared.get(name, -math.inf), 0
        while True:
            began = time.monotonic()
            deleted, seen, last = self._slice(name, before, after)
            total += deleted
            if last is not None:
                # Of rows of one instant more may be spared than a slice holds.
                after = last if deleted or last > after else math.nextafter(last, math.inf)
            if seen < ledger.PRUNED_AT_ONCE:
                break
            time.sleep(min(LONGEST_REST, REST * (time.monotonic() - began)))
        if name in _SPARING:
            self._spared[name] = after
        return total

    def _slice(self, name: str, before: float, after: float) -> tuple[int, int, float | None]:
        with self._database.reading() as session:  # one statement is its own transaction
            row: tuple[int, int, float | None] | None = session.run(
                name, (before, ledger.PRUNED_AT_ONCE, after)
            ).fetchone()
        assert row is not None
        return row
