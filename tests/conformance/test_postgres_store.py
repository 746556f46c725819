"""The PostgreSQL store passes the suite of all stores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celeriac.testing.conformance import StoreConformance, StoreHarness
from tests.conformance.postgres import PostgresHarness


@pytest.fixture
def harness(postgres_url: str) -> Iterator[StoreHarness]:
    opened = PostgresHarness(postgres_url)
    yield opened
    opened.close()


class TestPostgresStore(StoreConformance):
    pass
