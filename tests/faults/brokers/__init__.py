"""The columns of the matrix. A broker is an object: where a cell's store is, and what can be done to its server."""

from __future__ import annotations

from tests.faults.brokers.base import Broker, Missing, Place
from tests.faults.brokers.postgres import Postgres
from tests.faults.brokers.sqlite import SQLite

__all__ = ["BROKERS", "Broker", "Missing", "Place"]

#: By the name that BROKERS= takes. What they start ends with `close`.
BROKERS: dict[str, type[Broker]] = {"sqlite": SQLite, "postgresql": Postgres}
