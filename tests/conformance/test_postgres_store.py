"""The PostgreSQL store passes the suite of all stores."""

from __future__ import annotations

from celeriac.testing.conformance import StoreConformance


class TestPostgresStore(StoreConformance):
    pass
