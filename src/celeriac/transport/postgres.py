"""``postgresql://user@host/database`` as a broker URL."""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

from celeriac.settings import shown_url
from celeriac.store.protocols import Store
from celeriac.store.registry import open_store
from celeriac.transport.base import StoreTransport
from celeriac.transport.sqlite import broker_url


class PostgresTransport(StoreTransport):
    """A broker in the database that is there already."""

    driver_name = "postgresql"

    def open_store(self) -> Store:
        return open_store(broker_url(self.client))

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """The URL, without its password."""
        return uri if include_password else shown_url(uri, mask)


def register() -> None:
    """Make the schemes known to kombu."""
    for scheme in ("postgresql", "postgres"):
        TRANSPORT_ALIASES[scheme] = "celeriac.transport.postgres:PostgresTransport"
