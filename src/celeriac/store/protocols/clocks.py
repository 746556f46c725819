"""The clocks that decide what is due."""

from __future__ import annotations

from typing import Protocol


class Clocks(Protocol):
    """The store's own clocks, the same for all who use it."""

    def now(self) -> float:
        """The store's wall clock."""

    def lease_now(self) -> float:
        """The store's lease clock."""
