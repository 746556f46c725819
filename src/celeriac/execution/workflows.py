"""A task that is part of a workflow: whether it may still run, and what its end means for the others."""

from __future__ import annotations

import time
from typing import Any

from celeriac.core.attempt import TERMINAL, Attempt, ChordPart, Outcome
from celeriac.core.workflow import Membership
from celeriac.store.protocols import Store

#: Seconds after which it is looked up again which workflows somebody has cancelled.
KNOWN_FOR = 0.5


class KnownCancelled:
    """The workflows that are cancelled, as of half a second ago; asked for only where members of some run."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._until = 0.0

    def has(self, store: Store, workflow_id: str) -> bool:
        """Whether the workflow was cancelled."""
        if time.monotonic() >= self._until:
            self._known = store.cancelled_workflows()
            self._until = time.monotonic() + KNOWN_FOR
        return workflow_id in self._known


def is_cancelled(known: KnownCancelled, store: Store, attempt: Attempt) -> bool:
    """Whether the attempt must not begin, since its workflow was cancelled."""
    part = Membership.from_header(attempt.workflow)
    return part is not None and known.has(store, part.workflow)


def conclude(attempt: Attempt, request: dict[str, Any], store: Store) -> None:
    """Add to a member's settlement what it means for its workflow."""
    part = Membership.from_header(attempt.workflow)
    if part is None:
        return
    if part.folded and attempt.outcome in TERMINAL and request.get("group") and not attempt.chord:
        attempt.chord.append(_counted(attempt, request))
    if attempt.outcome is not Outcome.DEAD_LETTERED:
        return
    if attempt.others and hasattr(attempt.task.backend, "block"):
        attempt.task.backend.block(attempt)
    if part.on_failure == "fail":
        by = f"{attempt.name}[{attempt.task_id}], which gave up"
        attempt.after_settle.append(lambda: store.cancel_workflow(part.workflow, by))


def _counted(attempt: Attempt, request: dict[str, Any]) -> ChordPart:
    """One more of a group that no body waits for has ended."""
    succeeded = attempt.outcome is Outcome.COMPLETED
    return ChordPart(request["group"], attempt.task_id, request.get("group_index") or 0, succeeded, None, "")
