"""The SQLite store passes the suite of all stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.testing.conformance import StoreConformance, StoreHarness
from tests.conformance.sqlite import SQLiteHarness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[StoreHarness]:
    opened = SQLiteHarness(tmp_path / "shop.db")
    yield opened
    opened.close()


class TestSQLiteStore(StoreConformance):
    pass
