"""Which time limits hold for a delivered task: its message's, its own, its worker's."""

from __future__ import annotations

from typing import Any

#: Hard and soft limit in seconds; None or 0 for none.
Limits = tuple[float | None, float | None]


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


def of_request(task: Any, message: Any) -> Limits:
    """The limits of one delivery of ``task``; ``message`` is its ``timelimit`` header."""
    hard, soft = message or (None, None)
    own = (task.time_limit, task.soft_time_limit)
    return effective((hard, soft), own, getattr(task.app, "worker_time_limits", (None, None)))
