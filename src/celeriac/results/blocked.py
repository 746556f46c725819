"""What the rest of a workflow reads while a member of it is a dead letter."""

from __future__ import annotations

from typing import Any

from celery.exceptions import ChordError


class WorkflowBlocked(ChordError):  # type: ignore[misc]  # Celery has no types
    """A member has given up and is kept as a dead letter; redriven, it lets the rest go on.

    Also a `ChordError`, which code for Celery catches.

    Args:
        task: the member's name.
        task_id: its id.
        cause: what it raised, as text.
    """

    def __init__(self, task: str, task_id: str = "", cause: str = "", *rest: Any) -> None:
        super().__init__(task, task_id, cause, *rest)
        self.task, self.task_id, self.cause = task, task_id, cause

    def __str__(self) -> str:
        return (
            f"{self.task}[{self.task_id}] gave up ({self.cause}), and what comes after it waits. Once the cause is mended, "
            f"`celery -A app dead redrive {self.task_id}` lets it go on"
        )
