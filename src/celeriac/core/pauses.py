"""What people have stopped: a queue, or every message of a task."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal, NamedTuple

PauseKind = Literal["queue", "task"]
#: What is paused: of which kind, and its name.
Paused = AbstractSet[tuple[str, str]]


class Pause(NamedTuple):
    """One pause: of what, since when (seconds since the epoch), by whom and why.

    `waiting` counts what waits in a queue, or what has been set aside of a task so far.
    """

    kind: PauseKind
    name: str
    at: float
    who: str
    note: str
    waiting: int


@dataclass(frozen=True, slots=True)
class WaitingFilter:
    """Which waiting messages of tasks: every given condition must hold.

    ``task`` and ``queue`` are names or globs; the age is in seconds since it was sent. Without ``bodies`` none is read.
    """

    task: str | None = None
    queue: str | None = None
    older_than: float | None = None
    bodies: bool = False


class WaitingMessage(NamedTuple):
    """A message that waits; `sent_at` in seconds since the epoch, `body` None where it was not asked for."""

    task_id: str
    name: str | None
    queue: str
    sent_at: float
    envelope: str
    body: str | bytes | None


def names(paused: Paused, kind: PauseKind) -> list[str]:
    """The names of what is paused of a kind."""
    return sorted(name for its_kind, name in paused if its_kind == kind)
