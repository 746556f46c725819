"""What became of every task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from celeriac.core.attempt import AttemptRecord, Record, Settled, Settlement
from celeriac.core.desk import By


class Ledger(Protocol):
    """What became of every task."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Write the ends of attempts, each whole or (its lease lost) not at all, in one transaction.

        Raises:
            StoreUnavailable: nothing was written; worth another try.
            StoreError: one of them cannot be written, and so none was.
            ValueError: an outcome that settles nothing.
        """

    def store(self, record: Record) -> None:
        """Write a state that belongs to no settlement (custom states, results set by hand).

        What has ended stays as it is, except that a failure may be put right.
        """

    def records(self, task_ids: Sequence[str], *, live: bool = True) -> dict[str, Record]:
        """The newest record of each known task; a waiting or running one has a record too, unless not ``live``."""

    def forget(self, task_id: str, *, result_only: bool = False) -> None:
        """Drop a settled task's record; or its result only, so that a copy of its message is known as one."""

    def attempts(self, task_id: str) -> list[AttemptRecord]:
        """The attempts that did not simply succeed, oldest first."""

    def revoke(self, task_ids: Iterable[str], keep: float, by: By | None = None) -> list[str]:
        """Refuse these tasks for at least ``keep`` seconds, with a line in the log where it is said who does it.

        Whatever of them is claimed from now on is marked. Those that waited for
        a time or a key are ready at once, so that a worker ends them, and returned.
        """

    def save_group(self, group_id: str, result: str | bytes, expires_at: float | None) -> None:
        """Keep a group's result tree."""

    def get_group(self, group_id: str) -> str | bytes | None:
        """A kept group's result tree."""

    def delete_group(self, group_id: str) -> None:
        """Drop a group's result tree."""

    def prune(self, now: float, *, attempts_before: float, dead_letters_before: float | None) -> int:
        """Delete what has expired; returns how many rows."""
