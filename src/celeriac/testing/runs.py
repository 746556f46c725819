"""One run of a task, as a test sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from traceback import format_exception
from types import TracebackType
from typing import Any

from celery.exceptions import Ignore, Reject, Retry, TaskRevokedError

from celeriac.core.attempt import Attempt, Outcome

_CELERYS = {
    Retry: Outcome.RETRY,
    Ignore: Outcome.IGNORED,
    Reject: Outcome.FAILED,
    TaskRevokedError: Outcome.REVOKED,
}
_FAILED = (Outcome.FAILED.value, Outcome.DEAD_LETTERED.value)
#: Packages whose frames stand before a task's.
_CALLERS = ("celery", "celeriac")


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """One run of a task, and how it ended.

    ``outcome`` is ``completed``, ``retry``, ``dead-lettered``, ``failed`` (an error the task declares in ``throws``, or
    Reject), ``snoozed``, ``replaced``, ``ignored``, ``revoked``, ``requeued``, ``duplicate`` or ``lease-lost``.
    ``retries`` counts those before this run; ``delay`` is after how many seconds the task runs again, where it does.
    ``error`` is what the body raised, and ``reason`` why a failure is final: ``permanent``, ``exhausted``, ….
    """

    task: str
    id: str
    outcome: str
    retries: int
    at: datetime
    delay: float | None = None
    error: BaseException | None = None
    reason: str | None = None
    traceback: str | None = None

    @property
    def failed(self) -> bool:
        """Whether it failed for good."""
        return self.outcome in _FAILED

    def __str__(self) -> str:
        again = f", again in {self.delay:g} s" if self.delay is not None else ""
        why = f", {type(self.error).__name__}: {self.error}" if self.error is not None else ""
        return f"{self.task}[{self.id}] {self.outcome}{again}{why}"

    def __repr__(self) -> str:
        return f"<Run {self}>"

    def told(self) -> str:
        """The same with the traceback, where there is one: of the task's own code, without what calls it."""
        if self.error is None or self.error.__traceback__ is None:
            return f"{self}\n{self.traceback.rstrip()}" if self.traceback else str(self)
        lines = format_exception(type(self.error), self.error, _of_the_task(self.error.__traceback__))
        return f"{self}\n{''.join(lines).rstrip()}"


def _of_the_task(trace: TracebackType) -> TracebackType:
    """From the first frame that is not Celery's or celeriac's; all of it, where there is none."""
    first: TracebackType | None = trace
    while first is not None and first.tb_frame.f_globals.get("__name__", "").split(".")[0] in _CALLERS:
        first = first.tb_next
    return first or trace


def run_of(attempt: Attempt, now: float) -> Run:
    """What became of an attempt that is settled now (seconds since the epoch)."""
    failure, request = attempt.failure, attempt.request() if attempt.request is not None else None
    return Run(
        attempt.name,
        attempt.task_id,
        attempt.outcome.value,
        getattr(request, "retries", None) or 0,
        datetime.fromtimestamp(attempt.started_at, timezone.utc),
        _delay(attempt, now),
        attempt.raised,
        failure.reason if failure is not None else None,
        failure.traceback if failure is not None else None,
    )


def run_unmanaged(request: Any, error: BaseException | None, at: datetime) -> Run:
    """What became of a task that celeriac leaves to Celery, which says so with exceptions of its own."""
    outcome = next((outcome for kind, outcome in _CELERYS.items() if isinstance(error, kind)), Outcome.FAILED)
    if error is None:
        outcome = Outcome.COMPLETED
    cause = getattr(error, "exc", None) or error
    return Run(request.name, request.id, outcome.value, request.request_dict.get("retries") or 0, at, error=cause)


def _delay(attempt: Attempt, now: float) -> float | None:
    if attempt.outcome is Outcome.SNOOZED and attempt.snooze_until is not None:
        return _until(attempt.snooze_until, now)
    if attempt.outcome is Outcome.RETRY and attempt.retry is not None:
        return _until(attempt.retry.run_at, now)
    return None


def _until(moment: float | None, now: float) -> float:
    # What travels has microseconds, and so has lost a part of one.
    return 0.0 if moment is None else round(max(0.0, moment - now), 3)
