"""Dead letters, and the log of what people do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from celeriac.core.attempt import DeadLetter, DeadLetterFilter
from celeriac.core.desk import Action, By, ErrorGroup, Redrive, Verb
from celeriac.core.message import TaskMessage
from celeriac.errors import DeadLetterError


class DeadLetters(Protocol):
    """Tasks that gave up, and the log of what people did with them."""

    def dead_letters(
        self, chosen: DeadLetterFilter, *, batch: int = 200, newest: int | None = None
    ) -> Iterator[DeadLetter]:
        """Those that match, or the ``newest`` so many of them, oldest first, with their attempts."""

    def count_dead_letters(self, chosen: DeadLetterFilter) -> int:
        """How many match."""

    def dead_letters_of(self, task_ids: Sequence[str]) -> dict[str, list[int]]:
        """The ids of the dead letters of each task that has any, oldest first."""

    def error_groups(self, chosen: DeadLetterFilter) -> list[ErrorGroup]:
        """Those that match by their error's fingerprint, the largest group first."""

    def redrive(self, letter: DeadLetter, message: TaskMessage, by: By, *, from_start: bool = False) -> None:
        """Send it again, one generation higher; it goes on from its checkpoint, unless ``from_start``.

        Raises:
            RedriveRefused: its idempotency key is held by another task.
            RedriveSuperseded: its task waits or runs again.
            DeadLetterError: it is gone.
        """

    def redrive_all(self, redrives: Sequence[Redrive]) -> list[DeadLetterError | None]:
        """The same of many, in their order and in one transaction; says of each why it was not sent, or None."""

    def purge_dead_letters(self, ids: Sequence[int], by: By) -> int:
        """Delete them; returns how many."""

    def acknowledge_dead_letters(self, ids: Sequence[int], by: By) -> int:
        """Mark them as known, with the note; returns how many there are. What was said of one before stays without a new note."""

    def reopen_dead_letters(self, ids: Sequence[int], by: By) -> int:
        """Take the mark away; returns how many had it."""

    def import_dead_letters(self, letters: Sequence[DeadLetter], by: By) -> int:
        """Add those that are not known, all or none, under ids of this store; returns how many.

        Known is the letter of a task's generation, and whatever the task has come to after that.
        """

    def record_action(self, verb: Verb, by: By) -> None:
        """Write into the log what was done with many at once."""

    def actions(self, task_id: str | None = None, *, newest: int = 200) -> list[Action]:
        """The newest lines of the log, or those of one task, oldest first."""
