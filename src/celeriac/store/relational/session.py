"""A connection as the parts see it: named statements in, rows out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Rows(Protocol):
    """What a statement returned."""

    @property
    def rowcount(self) -> int:
        """Rows inserted, changed or deleted."""

    def fetchone(self) -> Any:
        """The next row, or None."""

    def fetchall(self) -> list[Any]:
        """All that are left."""

    def __iter__(self) -> Iterator[Any]:
        """Row after row."""


class Session(Protocol):
    """One connection, inside a transaction or reading single statements."""

    #: Whether a statement is so cheap that lanes are entered and taken one by one; otherwise a trigger, and one for all.
    lane_by_lane: bool

    def run(self, name: str, parameters: Sequence[Any] = ()) -> Rows:
        """Run a statement of the dialect's files: ``queue.publish``."""

    def lock(self, key: str) -> None:
        """Let nobody else use this idempotency key until the transaction ends."""


class Database(Protocol):
    """Where sessions come from; errors leave both as store errors."""

    def reading(self) -> AbstractContextManager[Session]:
        """Single statements, each of which sees the present."""

    def writing(self) -> AbstractContextManager[Session]:
        """One transaction; rolled back when the block raises."""

    def scanning(self) -> AbstractContextManager[Session]:
        """Statements that look at whole tables."""

    def publishing(self) -> AbstractContextManager[Session]:
        """One transaction that a caller waits for, and that gives up in the time he was promised."""

    def now(self) -> float:
        """The store's wall clock, in seconds since the epoch."""

    def lease_now(self) -> float:
        """The store's lease clock, in seconds."""
