"""Workflows, and what has become of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from celeriac.core.workflow import Counted, Times, Workflow
from celeriac.core.workflow_members import Claimed


class Workflows(Protocol):
    """Workflows, each recorded with the first of its messages (``TaskMessage.opens``)."""

    def workflow(self, workflow_id: str) -> Workflow | None:
        """One, by its id."""

    def workflows(self, most: int, *, before: Workflow | None = None) -> list[Workflow]:
        """The newest first, ``most`` of them, those that come after ``before`` then."""

    def unfinished_workflows(self, most: int) -> list[Workflow]:
        """Those that run or are blocked, as far as was noted, the one first that nobody has looked at for longest."""

    def workflow_of(self, task_id: str) -> str | None:
        """The id of the workflow of which the task, or the folded group, is a node; the newest if of several.

        Also of a task that is none, one of many, as long as it waits or runs.
        """

    def cancel_workflow(self, workflow_id: str, by: str) -> bool:
        """Say that its members are not to run any more; false where somebody has said so before, or nobody knows it."""

    def cancelled_workflows(self, since: float = 0.0) -> frozenset[str]:
        """The ids of all of which somebody said so, ``since`` then, until they are forgotten."""

    def note_workflow(self, workflow_id: str, state: str, outcome: str, *, over: Sequence[str] = ()) -> None:
        """Keep what has become of it, longer than its members' results; nobody counts in the groups ``over`` any more."""

    def workflows_kept(self, workflow_ids: Collection[str]) -> None:
        """Note that messages of them wait in an outbox, or have until now: one that was noted as lost goes on."""

    def counted(self, group_ids: Sequence[str]) -> dict[str, Counted]:
        """How many members of each group have ended, as far as they are joined or counted."""

    def times_of(self, group_ids: Sequence[str]) -> dict[str, Times]:
        """Of each group's members that have ended, when the first began and the last ended, as far as their results are there."""

    def claimed_of_workflow(self, workflow_id: str) -> list[Claimed]:
        """Those of its tasks that a worker has now."""

    def workflows_under_way(self) -> frozenset[str]:
        """The ids of all of which a message waits, for whatever it is, or runs. It looks at every message."""

    def letters_of_workflow(self, workflow_id: str, since: float) -> list[int]:
        """The ids of the dead letters of its tasks that failed at ``since`` or later, the oldest first."""
