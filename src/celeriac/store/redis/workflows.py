"""Workflows: recorded with their first message, looked at, cancelled, and what has become of them noted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

from celeriac.core.workflow import Counted, OnFailure, Times, Workflow
from celeriac.core.workflow_members import Claimed, claimed_members, is_part_of, part_of
from celeriac.store.redis.packing import Argument, number, plain, text, texts_arguments, to_number
from celeriac.store.redis.part import AT_ONCE, Part


class WorkflowsPart(Part):
    """The workflows' side of the store."""

    def workflow(self, workflow_id: str) -> Workflow | None:
        found = self.database.call("workflows.read", [plain(workflow_id)])
        return _workflow(found) if found else None

    def workflows(self, most: int, *, before: Workflow | None = None) -> list[Workflow]:
        bound = ["", ""] if before is None else [number(before.sent_at), plain(before.id)]
        return [_workflow(found) for found in self.database.call("workflows.newest", [*bound, most])]

    def unfinished_workflows(self, most: int) -> list[Workflow]:
        return [_workflow(found) for found in self.database.call("workflows.unfinished", [most])]

    def workflow_of(self, task_id: str) -> str | None:
        envelope, known = map(text, self.database.call("workflows.find", [plain(task_id)]))
        part = part_of(envelope)
        return (known or None) if part is None else part.workflow

    def cancel_workflow(self, workflow_id: str, by: str) -> bool:
        return bool(self.database.call("workflows.cancel", [plain(workflow_id), plain(by)]))

    def cancelled_workflows(self, since: float = 0.0) -> frozenset[str]:
        return frozenset(text(found) for found in self.database.call("workflows.cancelled", [number(since)]))

    def note_workflow(self, workflow_id: str, state: str, outcome: str, *, over: Sequence[str] = ()) -> None:
        groups = [plain(group_id) for group_id in over]
        self.database.call("workflows.note", [plain(workflow_id), state, plain(outcome), len(groups), *groups])

    def workflows_kept(self, workflow_ids: Collection[str]) -> None:
        self.database.call("workflows.kept", texts_arguments(sorted(workflow_ids)))

    def counted(self, group_ids: Sequence[str]) -> dict[str, Counted]:
        found = self.database.call("workflows.counted", [len(group_ids), *map(plain, group_ids)])
        return {text(group_id): Counted.of(*map(int, counts)) for group_id, *counts in found}

    def times_of(self, group_ids: Sequence[str]) -> dict[str, Times]:
        return {group_id: self._times_of(group_id) for group_id in group_ids}

    def _times_of(self, group_id: str) -> Times:
        began: list[float | None] = []
        ended: list[float | None] = []
        cursor = "0"
        while True:
            at, first, last = self.database.call("workflows.times", [plain(group_id), cursor, AT_ONCE])
            began.append(to_number(first))
            ended.append(to_number(last))
            if (cursor := text(at)) == "0":
                known = [at for at in began if at is not None], [at for at in ended if at is not None]
                return min(known[0], default=None), max(known[1], default=None)

    def claimed_of_workflow(self, workflow_id: str) -> list[Claimed]:
        found = self.database.call("workflows.claimed", [plain(workflow_id)])
        rows = ((text(task_id), bool(started), text(envelope)) for task_id, started, envelope in found)
        return claimed_members(workflow_id, rows)

    def workflows_under_way(self) -> frozenset[str]:
        found: set[str] = set()
        cursor = "0"
        while True:
            at, some = self.database.call("workflows.under_way", [cursor, AT_ONCE])
            found.update(map(text, some))
            if (cursor := text(at)) == "0":
                return frozenset(found)

    def letters_of_workflow(self, workflow_id: str, since: float) -> list[int]:
        found: list[int] = []
        seen, first = AT_ONCE, 0
        while seen == AT_ONCE:
            asked: list[Argument] = [plain(workflow_id), number(since), first, AT_ONCE]
            seen, letters = self.database.call("workflows.letters", asked)
            found += [int(letter) for letter, envelope in letters if is_part_of(text(envelope), workflow_id)]
            first += seen
        return sorted(found)


def _workflow(found: Sequence[bytes]) -> Workflow:
    id_, name, shape, on_failure, parent, sent_at, cancelled_at, cancelled_by, state, outcome, kept_at = found
    return Workflow(
        text(id_),
        text(name),
        Workflow.nodes_of(text(shape)),
        cast(OnFailure, text(on_failure)),
        text(parent) or None,
        to_number(sent_at) or 0.0,
        to_number(cancelled_at),
        text(cancelled_by) or None,
        text(state),
        text(outcome) or None,
        to_number(kept_at),
    )
