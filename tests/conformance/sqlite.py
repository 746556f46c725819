"""SQLite stores for tests, whose clocks can be put forward."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from celeriac.store.sqlite import SQLiteStore
from celeriac.testing.conformance import StoreHarness


@dataclass(slots=True)
class Passed:
    """Seconds by which the stores of one test are ahead."""

    seconds: float = 0.0


class ClockedStore(SQLiteStore):
    """A store ahead of its time."""

    def __init__(self, path: Path, passed: Passed) -> None:
        self._passed = passed
        super().__init__(path, busy_timeout=5.0)

    def now(self) -> float:
        return super().now() + self._passed.seconds

    def lease_now(self) -> float:
        return super().lease_now() + self._passed.seconds


class SQLiteHarness(StoreHarness):
    """Stores on one file."""

    def __init__(self, path: Path, kind: type[ClockedStore] = ClockedStore) -> None:
        self.path = path
        self._kind = kind
        self._passed = Passed()
        self._opened: list[ClockedStore] = []

    def open(self) -> ClockedStore:
        store = self._kind(self.path, self._passed)
        self._opened.append(store)
        return store

    def pass_time(self, seconds: float) -> None:
        self._passed.seconds += seconds

    def close(self) -> None:
        for store in self._opened:
            store.close()
