"""What replaces a task has its id, and so one end: a group that it ends in is joined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.canvas import _chain, chord, group, maybe_signature

from celeriac.core.attempt import Attempt, Outcome, Settlement
from celeriac.core.current import attempting
from celeriac.core.message import DELIVERY_HEADER, WORKFLOW_HEADER, DeliveryFacts
from celeriac.execution.room import room_of


def with_one_end(app: Any, signature: Any) -> Any:
    """The canvas, whose last group's results are one list.

    Celery does so with a group, and with a chain that ends in one; behind a chord it leaves the group, and whoever
    waits for the replaced task waits for ever.
    """
    signature = maybe_signature(signature, app=app)
    if isinstance(signature, group):
        return signature | app.tasks["celery.accumulate"].s(index=0)
    if isinstance(signature, chord) and signature.body is not None:
        body = with_one_end(app, signature.body)
        if body is not signature.body:
            signature = signature.clone()
            signature.body = body
    elif isinstance(signature, _chain) and signature.tasks:
        last = with_one_end(app, signature.tasks[-1])
        if last is not signature.tasks[-1]:
            signature = signature.clone()
            signature.tasks = [*signature.tasks[:-1], last]
    return signature


def replace_unmanaged(task: Any, replace: Callable[[], Any]) -> Any:
    """Of a task that celeriac does not settle: in the place of its message, where a store delivered that.

    Sent beside it, it would be a second message of a task that is not over, and none.
    """
    request = task.request
    header = None if request.called_directly or request.is_eager else getattr(request, DELIVERY_HEADER, None)
    if header is None:
        return replace()
    facts, store = DeliveryFacts.from_header(header), room_of(task.app).store
    attempt = Attempt(
        request.id,
        request.task,
        facts,
        request.hostname or "",
        store.now(),
        buffering=True,
        task=task,
        workflow=getattr(request, WORKFLOW_HEADER, None),
    )
    try:
        with attempting(attempt):
            return replace()
    finally:
        if attempt.follow_ups:
            replaced = Settlement(facts.lease, request.id, facts.generation, Outcome.REPLACED)
            replaced.follow_ups = attempt.follow_ups
            store.settle([replaced])
