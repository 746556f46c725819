"""PostgreSQL stores whose clock goes as the test wants, each on a schema of its own."""

from __future__ import annotations

import uuid
from contextlib import closing

import psycopg
from psycopg import sql

from celeriac.store.postgres import PostgresStore
from celeriac.testing.conformance import StoreHarness
from tests.conformance.sqlite import Passed


class ClockedStore(PostgresStore):
    """A store ahead of its time."""

    def __init__(self, url: str, schema: str, passed: Passed) -> None:
        self._passed = passed
        super().__init__(url, schema=schema)

    def now(self) -> float:
        return super().now() + self._passed.seconds

    def lease_now(self) -> float:
        return super().lease_now() + self._passed.seconds


class PostgresHarness(StoreHarness):
    """Stores on one schema."""

    def __init__(self, url: str, kind: type[ClockedStore] = ClockedStore) -> None:
        self.url = url
        self.schema = f"test_{uuid.uuid4().hex[:12]}"
        self._kind = kind
        self._passed = Passed()
        self._opened: list[ClockedStore] = []

    @property
    def place(self) -> str:
        """The URL of the schema, as a broker's."""
        return f"{self.url}?schema={self.schema}"

    def open(self) -> ClockedStore:
        store = self._kind(self.url, self.schema, self._passed)
        self._opened.append(store)
        return store

    def pass_time(self, seconds: float) -> None:
        self._passed.seconds += seconds

    def close(self) -> None:
        for store in self._opened:
            store.close()
        with closing(psycopg.connect(self.url, autocommit=True)) as raw:
            raw.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(self.schema)))
