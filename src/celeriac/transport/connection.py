"""kombu's connection, which tells no password."""

from __future__ import annotations

from typing import Any

import kombu

from celeriac.transport.base import StoreTransport


class Connection(kombu.Connection):  # type: ignore[misc]  # kombu has no types
    """As kombu's, for a store's URL as well."""

    def info(self) -> dict[str, Any]:
        """As kombu's, which takes a whole URL for the host's name: `inspect stats` shows it to everybody."""
        found: dict[str, Any] = super().info()
        if isinstance(self.transport, StoreTransport):
            shown = self.as_uri()
            found.update(hostname=shown, transport=shown.partition(":")[0])
        return found
