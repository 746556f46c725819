"""A task that is part of a workflow: whether it may still run, and what its end means for the others."""

from __future__ import annotations

from typing import Any

from celeriac.core.attempt import TERMINAL, Attempt, ChordPart, Outcome
from celeriac.core.workflow import Membership
from celeriac.store.protocols import Store


class KnownCancelled:
    """The workflows that are cancelled; asked for once for all that was claimed together, where there are members of some."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        #: On the lease clock.
        self._asked_at = float("-inf")

    def has(self, store: Store, workflow_id: str, claimed_at: float) -> bool:
        """Whether the workflow was cancelled before something of it was claimed."""
        if self._asked_at <= claimed_at:
            asked_at = store.lease_now()
            self._known = store.cancelled_workflows()
            self._asked_at = asked_at
        return workflow_id in self._known


def is_cancelled(known: KnownCancelled, store: Store, attempt: Attempt) -> bool:
    """Whether the attempt must not begin, since its workflow was cancelled."""
    part = Membership.from_header(attempt.workflow)
    return part is not None and known.has(store, part.workflow, attempt.delivery.claimed_at)


def conclude(attempt: Attempt, request: dict[str, Any], store: Store) -> None:
    """Add to a member's settlement what it means for its workflow."""
    part = Membership.from_header(attempt.workflow)
    if part is None:
        return
    counts = part.folded is not None and part.folded == request.get("group")
    if counts and attempt.outcome in TERMINAL and not attempt.chord:
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
