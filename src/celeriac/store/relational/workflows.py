"""Workflows: recorded with their first message, looked at, cancelled, and what has become of them noted."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from celeriac.core.workflow import Counted, Times, Workflow
from celeriac.core.workflow_members import Claimed, claimed_members, is_part_of, part_of
from celeriac.store.relational.part import Part
from celeriac.store.relational.session import Session

#: Messages that are looked at in one statement.
PAGE = 10_000


def record(raw: Session, workflow: Workflow, now: float) -> None:
    """Write it, in the transaction that sends its first message."""
    row = (workflow.id, workflow.name, workflow.shape(), workflow.on_failure, workflow.parent, now)
    raw.run("workflows.record", row)


def cancel(raw: Session, workflow_id: str, by: str, now: float) -> bool:
    """Have none of its tasks begin any more; false when that was said before."""
    return raw.run("workflows.cancel", (workflow_id, now, by)).rowcount == 1


class WorkflowsPart(Part):
    """The workflows' side of the store."""

    def workflow(self, workflow_id: str) -> Workflow | None:
        with self.database.reading() as raw:
            row = raw.run("workflows.read", (workflow_id,)).fetchone()
        return None if row is None else _workflow(row)

    def workflows(self, most: int, *, before: Workflow | None = None) -> list[Workflow]:
        bound = (None, "") if before is None else (before.sent_at, before.id)
        with self.database.reading() as raw:
            return [_workflow(row) for row in raw.run("workflows.newest", (*bound, most)).fetchall()]

    def unfinished_workflows(self, most: int) -> list[Workflow]:
        with self.database.reading() as raw:
            return [_workflow(row) for row in raw.run("workflows.unfinished", (most,)).fetchall()]

    def workflow_of(self, task_id: str) -> str | None:
        with self.database.reading() as raw:
            message = raw.run("workflows.message_of", (task_id,)).fetchone()
            part = None if message is None else part_of(message[0])
            if part is not None:
                return part.workflow
            # Each shape is looked through: an index of nodes would make every canvas dearer to send.
            row = raw.run("workflows.find", (json.dumps(task_id),)).fetchone()
        return None if row is None else str(row[0])

    def cancel_workflow(self, workflow_id: str, by: str) -> bool:
        with self.database.writing() as raw:
            return cancel(raw, workflow_id, by, self.now())

    def cancelled_workflows(self, since: float = 0.0) -> frozenset[str]:
        with self.database.reading() as raw:
            return frozenset(row[0] for row in raw.run("workflows.cancelled", (since,)).fetchall())

    def note_workflow(self, workflow_id: str, state: str, outcome: str, *, over: Sequence[str] = ()) -> None:
        now = self.now()
        with self.database.writing() as raw:
            raw.run("workflows.note", (workflow_id, state, outcome, now))
            if over:
                raw.run("workflows.close_groups", (json.dumps(list(over)), now))

    def workflows_kept(self, workflow_ids: Collection[str]) -> None:
        with self.database.writing() as raw:
            raw.run("workflows.kept", (json.dumps(sorted(workflow_ids)), self.now()))

    def counted(self, group_ids: Sequence[str]) -> dict[str, Counted]:
        if not group_ids:
            return {}
        with self.database.reading() as raw:
            rows = raw.run("workflows.counted", (json.dumps(list(group_ids)),)).fetchall()
        return {group_id: Counted.of(*counts) for group_id, *counts in rows}

    def times_of(self, group_ids: Sequence[str]) -> dict[str, Times]:
        if not group_ids:
            return {}
        with self.database.reading() as raw:
            rows = raw.run("workflows.times", (json.dumps(list(group_ids)),)).fetchall()
        return {group_id: (first, last) for group_id, first, last in rows}

    def claimed_of_workflow(self, workflow_id: str) -> list[Claimed]:
        with self.database.reading() as raw:
            rows = raw.run("workflows.claimed", (workflow_id,)).fetchall()
        return claimed_members(workflow_id, rows)

    def workflows_under_way(self) -> frozenset[str]:
        found: set[str | None] = set()
        last: int | None = 0
        while last is not None:
            with self.database.reading() as raw:
                last, some = raw.run("workflows.under_way", (last, PAGE)).fetchone()
            found.update(json.loads(some or "[]"))
        return frozenset(one for one in found if one)

    def letters_of_workflow(self, workflow_id: str, since: float) -> list[int]:
        with self.database.reading() as raw:
            rows = raw.run("workflows.letters", (workflow_id, since)).fetchall()
        return [number for number, envelope in rows if is_part_of(envelope, workflow_id)]


def _workflow(row: Sequence[object]) -> Workflow:
    id_, name, shape, on_failure, parent, sent_at, cancelled_at, cancelled_by, state, outcome, kept_at = row
    return Workflow(
        id_,  # type: ignore[arg-type]  # STRICT columns
        name,  # type: ignore[arg-type]
        Workflow.nodes_of(shape),  # type: ignore[arg-type]
        on_failure,  # type: ignore[arg-type]
        parent,  # type: ignore[arg-type]
        sent_at,  # type: ignore[arg-type]
        cancelled_at,  # type: ignore[arg-type]
        cancelled_by,  # type: ignore[arg-type]
        state,  # type: ignore[arg-type]
        outcome,  # type: ignore[arg-type]
        kept_at,  # type: ignore[arg-type]
    )
