"""How far a task has come, and when that is written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

#: Rows, at the beginning of a run after a crash, each of which is written down, so that the row that crashes is found.
SINGLY = 64
#: Of a time limit, the part after which a run gives way by itself, and the longest between two checkpoints.
WITHIN_LIMIT, OF_LIMIT = 0.8, 0.1
#: No progress is counted further.
MOST = 1e15


@dataclass(slots=True, frozen=True)
class Checkpoint:
    """What the store keeps of a task that reports how far it is: one row a task.

    ``cursors`` is JSON, for the next run to go on with: None where there is nothing to go on with, and, in what is
    saved, to leave what is there. ``at`` is the store's, in seconds since the epoch; ``token`` is that of the delivery
    under which the cursors were last saved, 0 for none.
    """

    task_id: str
    done: float = 0
    total: float | None = None
    note: str | None = None
    cursors: str | None = None
    at: float = 0.0
    token: int = 0


class Progress(NamedTuple):
    """How far a task has come.

    ``done`` and ``total`` count in whatever unit the task does, ``at`` is when it said so, in seconds since the epoch.
    """

    done: float
    total: float | None
    note: str | None
    at: float

    @property
    def fraction(self) -> float | None:
        """Between 0 and 1; None where the total is not known."""
        return None if not self.total else min(1.0, max(0.0, self.done / self.total))


def progress_of(checkpoint: Checkpoint | None) -> Progress | None:
    """What people are told of it."""
    if checkpoint is None:
        return None
    total = None if checkpoint.total is None else whole(checkpoint.total)
    return Progress(whole(checkpoint.done), total, checkpoint.note, checkpoint.at)


def number_of(given: object) -> float | None:
    """As a number that every store keeps; None where it is none, or too large. Databases and arrays have kinds of their own."""
    if isinstance(given, bool) or not hasattr(given, "__float__"):
        return None
    number = int(given) if hasattr(given, "__index__") else float(given)
    return number if abs(number) < MOST else None


def whole(number: float) -> float:
    """An int where it is one."""
    return int(number) if float(number).is_integer() else number


class Pace:
    """When to save: every so many seconds; and, where the run before has crashed, at first after every row.

    So a run that comes further than the one before has always saved that, and one that crashes on the same row again has
    saved nothing. After the first rows a careful run spends half of its time on saving, for as long as the crash can be
    away from where it began.

    Args:
        every: seconds.
        now: on a clock that does not step.
        careful: the run before has crashed.
    """

    __slots__ = ("_careful_until", "_cost", "_every", "_saved", "_singly")

    def __init__(self, every: float, now: float, *, careful: bool) -> None:
        self._every, self._saved, self._cost = every, now, 0.0
        self._singly = SINGLY if careful else 0
        self._careful_until = now + every if careful else now

    def due(self, now: float) -> bool:
        """Whether to save now, after a row."""
        if self._singly:
            self._singly -= 1
            return True
        return now - self._saved >= (self._cost if now < self._careful_until else self._every)

    def saved(self, began: float, ended: float) -> None:
        """It was saved in this time."""
        self._saved, self._cost = ended, ended - began


def pace_within(every: float, hard: float | None, soft: float | None) -> float:
    """Seconds between checkpoints of a run with these time limits."""
    return min([every, *(limit * OF_LIMIT for limit in (hard, soft) if limit)])


class Turn(NamedTuple):
    """How long a run may be, in seconds, and why it then gives way."""

    seconds: float
    reason: str


def turn_of(give_way: float | None, hard: float | None, soft: float | None) -> Turn | None:
    """After which a run gives way to others, or before a time limit could interrupt it; None for never."""
    limits = [limit for limit in (hard, soft) if limit]
    bounds = [Turn(min(limits) * WITHIN_LIMIT, f"its time limit of {min(limits):g} s is near")] if limits else []
    if give_way is not None:
        bounds.append(Turn(give_way, f"it has had its {give_way:g} s, and others wait their turn"))
    return min(bounds, default=None)
