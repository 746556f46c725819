"""The SQLite transport passes the suite of all transports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.store import registry
from celeriac.testing.conformance.transport import TransportConformance
from celeriac.transport import leases


@pytest.fixture
def broker_url(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "shop.db"
    yield f"sqlite:///{path}"
    keeper = leases._KEEPERS.pop(str(path), None)
    if keeper is not None:
        keeper.stop()
    for url, store in list(registry._OPEN.items()):
        if store.location == str(path):
            registry._OPEN.pop(url).close()


class TestSQLiteTransport(TransportConformance):
    pass
