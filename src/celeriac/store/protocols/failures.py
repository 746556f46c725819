"""Failures nobody has read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from celeriac.core.attempt import DeadLetterFilter
from celeriac.core.desk import By, UnreadFailure


class Failures(Protocol):
    """Tasks that failed and of which nobody has heard: no error callback, and no result that was read."""

    def unread_failures(
        self, chosen: DeadLetterFilter, *, batch: int = 200, newest: int | None = None
    ) -> Iterator[UnreadFailure]:
        """Those that match by task, queue, error and age, or the ``newest`` so many of them, oldest first."""

    def count_unread_failures(self, chosen: DeadLetterFilter) -> int:
        """How many match."""

    def failures_read(self, task_ids: Sequence[str]) -> None:
        """Somebody has read how these ended."""

    def acknowledge_failures(self, task_ids: Sequence[str], by: By) -> int:
        """The same, said by a person, and so with a line in the log; returns how many were unread."""
