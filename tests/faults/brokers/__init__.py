"""The columns of the matrix. A broker is an object: where a cell's store is, and what can be done to its server."""

from __future__ import annotations

from contextlib import suppress

from celeriac.errors import SettingsError
from celeriac.settings import check_broker
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
    with suppress(SettingsError):
        check_broker(f"{broker.scheme}://")
        return not broker.ledger_beside or "celeriac_ledger" in OWN_NAMES
    return False


#: By the name that BROKERS= takes. What they start ends with `close`.
BROKERS = {broker.name: broker for broker in _ALL if _there_is(broker)}
