"""A task that is part of a workflow: whether it may still run, and what its end means for the others."""

from __future__ import annotations

from typing import Any

from celery import uuid

from celeriac.core.attempt import TERMINAL, Attempt, Outcome
from celeriac.core.message import DELIVERY_HEADER, WORKFLOW_HEADER, DeliveryFacts
from celeriac.core.workflow import Membership
from celeriac.core.workflow_members import end_of_many, is_counted
from celeriac.store.protocols import Store

#: Seconds after which all that are cancelled are asked for, and not only the latest: a clock may have been set back.
ALL_AGAIN = 60.0
_CANCELLED = frozenset({Outcome.REVOKED, Outcome.IGNORED})
#: What a task reads that did not begin for it.
WHY_CANCELLED = "its workflow was cancelled"


class KnownCancelled:
    """The workflows that are cancelled; asked for once for all that was claimed together, where there are members of some."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        #: On the lease clock: when it was asked last, and when for all of them.
        self._asked_at = self._all_at = float("-inf")

    def has(self, store: Store, workflow_id: str, claimed_at: float) -> bool:
        """Whether the workflow was cancelled before something of it was claimed."""
        if self._asked_at <= claimed_at:
            self._ask(store, store.lease_now())
        return workflow_id in self._known

    def _ask(self, store: Store, asked_at: float) -> None:
        if asked_at - self._all_at > ALL_AGAIN:
            self._known, self._all_at = store.cancelled_workflows(), asked_at
        else:
            # There may be thousands of older ones. Who cancels says when before that is to be seen.
            self._known |= store.cancelled_workflows(store.now() - 2 * ALL_AGAIN)
        self._asked_at = asked_at


def is_cancelled(known: KnownCancelled, store: Store, attempt: Attempt) -> bool:
    """Whether the attempt must not begin, since its workflow was cancelled."""
    part = Membership.from_header(attempt.workflow)
    return part is not None and known.has(store, part.workflow, attempt.delivery.claimed_at)


def is_cancelled_unmanaged(known: KnownCancelled, store: Store, request: dict[str, Any]) -> bool:
    """The same of a task that is left to Celery, by what its message says."""
    part = Membership.from_header(request.get(WORKFLOW_HEADER))
    if part is None:
        return False
    header = request.get(DELIVERY_HEADER)  # another broker's own message has none
    claimed_at = store.lease_now() if header is None else DeliveryFacts.from_header(header).claimed_at
    return known.has(store, part.workflow, claimed_at)


def conclude(attempt: Attempt, request: Any, backend: Any) -> None:
    """Add to a member's settlement what it means for its workflow; ``request`` is Celery's, or what a message says."""
    part = Membership.from_header(attempt.workflow)
    if part is None:
        return
    if part.folded is not None and attempt.outcome in TERMINAL and not is_counted(attempt, part):
        succeeded, cancelled = attempt.outcome is Outcome.COMPLETED, attempt.outcome in _CANCELLED
        attempt.chord += end_of_many(attempt.task_id, request, part, succeeded=succeeded, cancelled=cancelled)
    if attempt.outcome is not Outcome.DEAD_LETTERED:
        return
    if attempt.others and hasattr(backend, "block"):
        backend.block(attempt)
    if part.on_failure == "fail":
        attempt.cancels = part.workflow, f"{attempt.name}[{attempt.task_id}], which gave up"


def name_callbacks(request: Any) -> None:
    """Give the callbacks that Celery sends next an id each, as all has that is a part of a workflow.

    Not before the body is over: it may send some of them itself, or try again with them.
    """
    if request.callbacks and getattr(request, WORKFLOW_HEADER, None) is not None:
        request.callbacks = [_named(callback) for callback in request.callbacks]


def _named(callback: Any) -> Any:
    if not isinstance(callback, dict) or callback.get("subtask_type"):  # of a canvas Celery names all tasks
        return callback
    options = callback.get("options") or {}
    return {**callback, "options": {"task_id": uuid(), **options}}
