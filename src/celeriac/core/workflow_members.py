"""Whose part a message is, as its envelope says."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

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
