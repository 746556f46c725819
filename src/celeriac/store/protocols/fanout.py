"""Broadcasts and bindings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from celeriac.core.message import Broadcast


class Fanout(Protocol):
    """Broadcast messages, and the bindings other processes made."""

    def broadcast(self, exchange: str, routing_key: str, envelope: str, body: str | bytes) -> None:
        """Send to every live listener of ``exchange``."""

    def last_broadcast(self) -> int:
        """Where a new listener starts."""

    def listen(self, exchanges: Sequence[str], after: int) -> list[Broadcast]:
        """What was broadcast on ``exchanges`` since ``after``, oldest first."""

    def bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Remember a binding for every process."""

    def unbind(self, queue: str) -> None:
        """Forget a queue's bindings."""

    def bindings(self, exchange: str) -> list[tuple[str, str, str]]:
        """``(routing key, pattern, queue)`` of every binding of ``exchange``."""
