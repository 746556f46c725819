"""The columns of the matrix. A broker is an object: where a cell's store is, and what can be done to its server."""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

import celeriac.app  # noqa: F401  # names its transports to kombu
from celeriac.settings.own import OWN_NAMES
from tests.faults.brokers.base import Broker, Missing, Place
from tests.faults.brokers.beside import RabbitBesideLedger, RedisBesideLedger
from tests.faults.brokers.postgres import Postgres
from tests.faults.brokers.redis import RedisStreams
from tests.faults.brokers.sqlite import SQLite

__all__ = ["BROKERS", "Broker", "Missing", "Place"]

_ALL: tuple[type[Broker], ...] = (SQLite, Postgres, RedisStreams, RedisBesideLedger, RabbitBesideLedger)


def _there_is(broker: type[Broker]) -> bool:
    """Whether this version has it."""
    known = broker.scheme.replace("+", "-") in TRANSPORT_ALIASES  # kombu reads a plus in another way
    return known and (not broker.ledger_beside or "celeriac_ledger" in OWN_NAMES)


#: By the name that BROKERS= takes. What they start ends with `close`.
BROKERS = {broker.name: broker for broker in _ALL if _there_is(broker)}
