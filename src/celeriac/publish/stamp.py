"""The ledger's name in what another broker will deliver: a worker on another ledger refuses it."""

from __future__ import annotations

from typing import Any

from celeriac.core.message import LEDGER_HEADER
from celeriac.store.protocols import Place


def stamp_of(store: Place) -> list[str]:
    """Names the ledger in a message."""
    return [store.uuid, store.location]


def stamped(store: Place, options: dict[str, Any]) -> dict[str, Any]:
    """The publish options with the ledger's name in the headers."""
    return {**options, "headers": {**(options.get("headers") or {}), LEDGER_HEADER: stamp_of(store)}}
