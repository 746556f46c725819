"""Which store it is."""

from __future__ import annotations

from typing import Protocol


class Place(Protocol):
    """Which store it is, for people and in messages."""

    @property
    def location(self) -> str:
        """Where it is, for people: an absolute path, or a URL without its password."""

    @property
    def uuid(self) -> str:
        """Names this ledger in messages."""
