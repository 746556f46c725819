"""Why a dead letter is not redriven, as far as that is found out here; what a store finds out is in `errors`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from difflib import get_close_matches

from celeriac.errors import DeadLetterError


class RedriveExpired(DeadLetterError):
    """Its ``expires`` is over, so a worker would discard it; ``expired_at`` is in seconds since the epoch."""

    def __init__(self, task: str, letter_id: int, expired_at: float) -> None:
        super().__init__(task, letter_id, expired_at)
        self.task, self.letter_id, self.expired_at = task, letter_id, expired_at

    def __str__(self) -> str:
        moment = datetime.fromtimestamp(max(self.expired_at, 0.0), timezone.utc).isoformat(timespec="seconds")
        return (
            f"task {self.task}: dead letter {self.letter_id} is not redriven, since it was to run before {moment} (expires). "
            "If it is still wanted, redrive it with --ignore-expiry; otherwise purge it"
        )


class RedriveCancelled(DeadLetterError):
    """It belongs to a workflow that was cancelled, so a worker would revoke it."""

    def __init__(self, task: str, letter_id: int, workflow_id: str) -> None:
        super().__init__(task, letter_id, workflow_id)
        self.task, self.letter_id, self.workflow_id = task, letter_id, workflow_id

    def __str__(self) -> str:
        return (
            f"task {self.task}: dead letter {self.letter_id} is not redriven, since its workflow {self.workflow_id} was "
            "cancelled, and no worker would run it. If it is still wanted, send the task anew with the arguments that "
            "`dead show` prints; otherwise purge it"
        )


class RedriveUnreadable(DeadLetterError):
    """What its message says of itself cannot be read: no store would know when it is due, or what key it has."""

    def __init__(self, task: str, letter_id: int, problem: str) -> None:
        super().__init__(task, letter_id, problem)
        self.task, self.letter_id, self.problem = task, letter_id, problem

    def __str__(self) -> str:
        return (
            f"task {self.task}: dead letter {self.letter_id} is not redriven, since its headers cannot be read "
            f"({self.problem}). Send the task anew with the arguments that `dead show` prints, and purge this"
        )


class RedriveAlone(DeadLetterError):
    """The chord ``group_id`` whose body waits for it is not known any more, so the body would never run."""

    def __init__(self, task: str, letter_id: int, group_id: str) -> None:
        super().__init__(task, letter_id, group_id)
        self.task, self.letter_id, self.group_id = task, letter_id, group_id

    def __str__(self) -> str:
        return (
            f"task {self.task}: dead letter {self.letter_id} is not redriven, since its chord {self.group_id} is not known "
            "here any more (the letter is from another ledger, or was away for longer than celeriac_history_expires), so the "
            "chord's body would never run. Redrive it with --alone if the task is wanted without its chord; otherwise purge it"
        )


class UnknownQueue(DeadLetterError):
    """The app declares its queues, and ``queue`` is none of them, or it is no name: nobody would consume what is sent there."""

    def __init__(self, queue: str, known: Sequence[str]) -> None:
        super().__init__(queue, tuple(known))
        self.queue, self.known = queue, tuple(known)

    def __str__(self) -> str:
        if not is_name(self.queue):
            return f"{self.queue!r} is no name of a queue. Nothing was redriven"
        near = get_close_matches(self.queue, self.known, 1)
        named = f"did you mean {near[0]}?" if near else f"there are {', '.join(self.known)}."
        return f"queue {self.queue} is not declared in task_queues; {named} Nothing was redriven"


def is_name(queue: str) -> bool:
    """Whether a queue can have it: not blank, and printable."""
    return bool(queue.strip()) and queue.isprintable()
