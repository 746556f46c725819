"""Which time limits hold for a delivered task: its message's, its own, its worker's."""

from __future__ import annotations

import threading
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from celeriac.core.current import current

#: Hard and soft limit in seconds; None or 0 for none.
Limits = tuple[float | None, float | None]
NO_LIMITS: Limits = (None, None)
#: Seconds from which on a task is better cut than given more time.
LONG = 29 * 60.0


def limit_text(kind: str, seconds: float | None) -> str:
    """The error of a run that has passed its limit; where that was long, with what to do instead of a longer one."""
    of = f" of {seconds:g} s" if seconds else ""
    said = f"the {kind} time limit{of} was exceeded"
    if seconds and seconds >= LONG:
        said += "; what takes so long is better split into tasks, or goes on from checkpoints, as with self.iterate()"
    return said


class _LeftToCelery:
    """Whether a task is traced in this thread that the pipeline has no part in."""

    def __init__(self) -> None:
        self._local = threading.local()

    def __call__(self) -> bool:
        return bool(getattr(self._local, "depth", 0))

    def __enter__(self) -> None:
        self._local.depth = getattr(self._local, "depth", 0) + 1

    def __exit__(self, *_: object) -> None:
        self._local.depth -= 1


left_to_celery = _LeftToCelery()


def soft_limit_passed(*_: object) -> None:
    """The signal handler of a pool's process: the limit is the body's, not that of what is done round it.

    Raised while the end of a task is written, it would undo what has been done.

    Raises:
        SoftTimeLimitExceeded: the body runs.
    """
    attempt = current()
    if left_to_celery() if attempt is None else attempt.entered and not attempt.over:
        raise SoftTimeLimitExceeded


def effective(*levels: Limits) -> Limits:
    """The hard and the soft limit from several levels, the nearest first.

    A farther level adds the limit that a nearer one does not give, unless the
    soft one would come after the hard one: Celery's pool counts the hard limit
    from the soft one on, and so would not enforce it.
    """
    hard: float | None = None
    soft: float | None = None
    for level_hard, level_soft in levels:
        if not hard and level_hard and (not soft or soft <= level_hard):
            hard = level_hard
        if not soft and level_soft and (not hard or level_soft <= hard):
            soft = level_soft
    return hard, soft


def take_over(worker: Any) -> None:
    """Keep the worker's limits for each request to look at, and from the pool, which would add them to all."""
    worker.app.worker_time_limits = (worker.time_limit, worker.soft_time_limit)
    worker.time_limit = worker.soft_time_limit = None


def of_request(task: Any, message: Any, queue: Limits = (None, None)) -> Limits:
    """The limits of one delivery of ``task``; ``message`` is its ``timelimit`` header, ``queue`` what its queue says."""
    hard, soft = message or (None, None)
    own = (task.time_limit, task.soft_time_limit)
    return effective((hard, soft), own, queue, getattr(task.app, "worker_time_limits", (None, None)))
