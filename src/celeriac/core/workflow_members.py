"""Whose part a message is, as its envelope says, and when one of many has come to its end."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from celeriac.core.attempt import Attempt, ChordPart
from celeriac.core.message import WORKFLOW_HEADER
from celeriac.core.workflow import Membership


class Claimed(NamedTuple):
    """A member that a worker has."""

    task_id: str
    #: It is known to run; what has just begun is not yet.
    started: bool
    part: Membership


def part_of(envelope: str) -> Membership | None:
    """What a message is a part of; None where it is none, or nobody can read it."""
    with suppress(ValueError, TypeError, LookupError, AttributeError):
        return Membership.from_header(json.loads(envelope)[0].get(WORKFLOW_HEADER))
    return None


def is_part_of(envelope: str, workflow_id: str) -> bool:
    """Whether a message is a workflow's; that it names one does not say so, for an argument can."""
    part = part_of(envelope)
    return part is not None and part.workflow == workflow_id


def claimed_members(workflow_id: str, rows: Iterable[tuple[str, bool, str]]) -> list[Claimed]:
    """Those of a workflow's, from tasks that are claimed: their ids, whether they have started, their envelopes."""
    found = []
    for task_id, started, envelope in rows:
        part = part_of(envelope)
        if part is not None and part.workflow == workflow_id:
            found.append(Claimed(task_id, bool(started), part))
    return found


def is_counted(attempt: Attempt, part: Membership) -> bool:
    """Whether the attempt's settlement says already, by a chord's member, that one of many has ended."""
    return any(one.group_id == part.folded for one in attempt.chord)


def end_of_many(
    task_id: str, request: Any, part: Membership, *, succeeded: bool, cancelled: bool = False
) -> list[ChordPart]:
    """One more of a group has ended, where this is its end: of a chain the last step, or one that fails."""
    chain = request.get("chain")
    if chain and succeeded:
        return []
    end: dict[str, Any] = {"task_id": task_id, "group_id": request.get("group")}
    end["group_index"] = request.get("group_index")
    if chain:
        end = chain[0].get("options") or {}
    if part.folded is None or not part.ends_one_of_many(end.get("group_id")) or not end.get("task_id"):
        return []
    return [ChordPart(part.folded, end["task_id"], end.get("group_index") or 0, succeeded, None, "", cancelled)]
