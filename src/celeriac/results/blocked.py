"""What the rest of a workflow reads when a member of it has given up."""

from __future__ import annotations

from typing import Any

from celery.exceptions import ChordError

from celeriac.core.workflow import OnFailure


class LeftBehind(ChordError):  # type: ignore[misc]  # Celery has no types
    """A member of the workflow has given up, and this task, which comes after it, was not run.

    Also a `ChordError`, which code for Celery catches.

    Args:
        task: the member's name.
        task_id: its id.
        cause: what it raised, as text.
    """

    def __init__(self, task: str, task_id: str = "", cause: str = "", *rest: Any) -> None:
        super().__init__(task, task_id, cause, *rest)
        self.task, self.task_id, self.cause = task, task_id, cause


class WorkflowBlocked(LeftBehind):
    """A member has given up and is kept as a dead letter; redriven, it lets the rest go on."""

    def __str__(self) -> str:
        return (
            f"{self.task}[{self.task_id}] gave up ({self.cause}), and what comes after it waits. Once the cause is mended, "
            f"`celery -A app dead redrive {self.task_id}` lets it go on"
        )


class WorkflowFailed(LeftBehind):
    """A member has given up, and the workflow was to fail then: what had not begun is cancelled for good."""

    def __str__(self) -> str:
        return (
            f"{self.task}[{self.task_id}] gave up ({self.cause}), and with it the workflow has failed, as on_failure='fail' "
            "says: this was not run. If it is still wanted, send the workflow anew"
        )


def left_behind(on_failure: OnFailure, task: str, task_id: str, cause: str) -> LeftBehind:
    """The error of what comes after a member that has given up."""
    kind = WorkflowFailed if on_failure == "fail" else WorkflowBlocked
    return kind(task, task_id, cause)
