"""The store of one test: SQLite's, by the test's clock, with a list of all that was published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from celeriac.store.protocols import ANY_NEWS, News
from celeriac.store.relational.part import CLAIMED, DELAYED, HELD, LANED, PARKED
from celeriac.store.sql import queries, script
from celeriac.store.sqlite import SQLiteStore
from celeriac.testing.clock import Clock
from celeriac.testing.published import PublishedTask, published_task

_STATEMENTS = queries("testing", "kit")
#: As many waiting tasks as a message names.
SHOWN = 20
_WHY = {
    CLAIMED: "runs",
    PARKED: "waits for the task that holds its idempotency key",
    LANED: "waits for its limits",
    HELD: "is paused",
}


class KitStore(SQLiteStore):
    """A store by the clock of a test.

    Args:
        path: the file, which is new.
        clock: what it takes for the time, also of leases.
        on_wait: what is done instead of waiting for results; given the mark that was seen, it returns the new one.
    """

    def __init__(self, path: Path, clock: Clock, on_wait: Callable[[int], int]) -> None:
        self._clock = clock
        self._on_wait = on_wait
        super().__init__(path)
        self._booted = clock.now() - super().lease_now()
        with self.database.writer.reading() as raw:
            raw.executescript(script("testing", "recording"))

    def now(self) -> float:
        return self._clock.now()

    def lease_now(self) -> float:
        return self._clock.now() - self._booted

    def wait(self, timeout: float, seen: int, news: News = ANY_NEWS) -> int:
        __tracebackhide__ = True  # of pytest's; what is said is the test's
        return self._on_wait(seen) if news == News.RESULTS else super().wait(timeout, seen, news)

    def _read(self, name: str, *parameters: Any) -> list[Any]:
        with self.database.reading() as raw:
            return raw.execute(_STATEMENTS[name], parameters).fetchall()

    def queues(self) -> list[str]:
        """Those in which tasks wait, by name."""
        return [name for (name,) in self._read("queues")]

    def next_due_after(self, now: float) -> float | None:
        """When something falls due after ``now``, whatever holds up what is due already."""
        due, free = self._read("due_after", now)[0][0], self._read("free_after", now - self._booted)[0][0]
        moments = (due, None if free is None else free + self._booted)
        return min((moment for moment in moments if moment is not None), default=None)

    def published(self) -> list[PublishedTask]:
        """All that was published since the store was made, in order."""
        return [published_task(*row) for row in self._read("published")]

    def held_up(self) -> list[str]:
        """What waits, and what for; a line for each of the first tasks."""
        now, paused = self.now(), self.paused()
        lines = []
        for name, task_id, queue, status, run_at in self._read("waiting", SHOWN):
            why = _WHY.get(status, "waits for a worker")
            if ("queue", queue) in paused or ("task", name) in paused:
                why = _WHY[HELD]
            elif status == DELAYED:
                why = f"is due in {max(0.0, run_at - now):.0f} s"
            lines.append(f"{name}[{task_id}] {why}")
        return lines
