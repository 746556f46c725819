"""``sqlite:///relative.db`` and ``sqlite:////absolute.db`` as broker URLs."""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES

from celeriac.settings import absolute_url
from celeriac.store.protocols import Store
from celeriac.store.registry import open_sqlite
from celeriac.transport.base import StoreTransport


class SQLiteTransport(StoreTransport):
    """The embedded broker: one file, nothing to install."""

    driver_name = "sqlite"

    def open_store(self) -> Store:
        return open_sqlite(broker_url(self.client))

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """The URL with the absolute path, so that two processes can be compared."""
        return absolute_url(uri)


def broker_url(client: Any) -> str:
    """The URL as it was written; kombu has taken it apart."""
    return str(client.hostname or client.virtual_host or "")


def register() -> None:
    """Make the scheme known to kombu, which has no entry point for transports."""
    TRANSPORT_ALIASES["sqlite"] = "celeriac.transport.sqlite:SQLiteTransport"
