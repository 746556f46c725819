"""What people do with what failed, and the failures that nobody has heard of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from celeriac.core.attempt import DeadLetter
from celeriac.core.message import TaskMessage


class Verb(str, Enum):
    """What was done; the words of the log."""

    REDRIVEN = "redriven"
    ACKNOWLEDGED = "acknowledged"
    REOPENED = "reopened"  # acknowledged no more
    PURGED = "purged"
    EXPORTED = "exported"
    IMPORTED = "imported"
    READ = "read"  # a failure that nobody had read
    REVOKED = "revoked"  # what waited


@dataclass(slots=True, frozen=True)
class By:
    """Who does something, and what they say of it."""

    who: str
    note: str | None = None


@dataclass(slots=True, frozen=True)
class Redrive:
    """A dead letter and the message that it is sent again as, by whom; ``from_start`` leaves its checkpoint behind."""

    letter: DeadLetter
    message: TaskMessage
    by: By
    from_start: bool = False


@dataclass(slots=True, frozen=True)
class Action:
    """One line of the log; ``at`` is in seconds since the epoch.

    ``letter_id`` and ``task_id`` are None where it was about many.
    """

    at: float
    who: str
    verb: Verb
    letter_id: int | None
    task_id: str | None
    note: str | None


@dataclass(slots=True, frozen=True)
class ErrorGroup:
    """Dead letters with one fingerprint; type and text are the newest one's, moments in seconds since the epoch.

    ``task`` is the first of its ``tasks`` different names.
    """

    fingerprint: str
    count: int
    tasks: int
    task: str | None
    first_at: float
    last_at: float
    newest_id: int
    error_type: str
    error: str


@dataclass(slots=True, frozen=True)
class UnreadFailure:
    """A task that failed and of which nobody has heard; ``failed_at`` is in seconds since the epoch."""

    task_id: str
    generation: int
    name: str | None
    queue: str | None
    worker: str | None
    error_type: str
    error: str
    failed_at: float
