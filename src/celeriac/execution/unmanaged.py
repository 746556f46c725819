"""A task that celeriac does not settle goes on in the place of its message, where a store delivered that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celeriac.core.attempt import Attempt, Outcome, Settlement
from celeriac.core.current import attempting
from celeriac.core.message import DELIVERY_HEADER, WORKFLOW_HEADER, DeliveryFacts
from celeriac.execution.room import room_of


@contextmanager
def in_place_of_its_message(task: Any, outcome: Outcome) -> Iterator[None]:
    """What the block sends of the running task, which ends in RETRY or REPLACED, takes the place of its message.

    Sent beside it, it would be a second message of a task that is not over, and none. Where no store delivered the task,
    the block is left alone.
    """
    request = task.request
    header = None if request.called_directly or request.is_eager else getattr(request, DELIVERY_HEADER, None)
    if header is None:
        yield
        return
    facts, store = DeliveryFacts.from_header(header), room_of(task.app).store
    attempt = Attempt(
        request.id,
        request.task,
        facts,
        request.hostname or "",
        store.now(),
        retrying=outcome is Outcome.RETRY,
        buffering=outcome is Outcome.REPLACED,
        task=task,
        workflow=getattr(request, WORKFLOW_HEADER, None),
    )
    try:
        with attempting(attempt):
            yield
    finally:
        if attempt.retry is not None if attempt.retrying else attempt.follow_ups:
            place = facts.lease, attempt.task_id, facts.generation
            store.settle([Settlement(*place, outcome, retry=attempt.retry, follow_ups=attempt.follow_ups)])
