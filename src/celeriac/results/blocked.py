"""What the rest of a workflow reads when a member of it has given up."""

from __future__ import annotations

from typing import Any

from celery.exceptions import ChordError

from celeriac.core.workflow import OnFailure


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


class WorkflowFailed(ChordError):  # type: ignore[misc]  # Celery has no types
    """A member has given up, and the workflow was to fail then: what had not begun is cancelled for good.

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
            f"{self.task}[{self.task_id}] gave up ({self.cause}), and with it the workflow has failed, as on_failure='fail' "
            "says: this was not run. If it is still wanted, send the workflow anew"
        )


#: What comes after a member that has given up reads one of these.
LeftBehind = WorkflowBlocked | WorkflowFailed


def left_behind(on_failure: OnFailure, task: str, task_id: str, cause: str) -> LeftBehind:
    """The error of what comes after a member that has given up."""
    kind = WorkflowFailed if on_failure == "fail" else WorkflowBlocked
    return kind(task, task_id, cause)
