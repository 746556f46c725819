"""Messages no worker can run: they end as their task's failure, with chord and error callbacks told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from celery.app.task import Context

from celeriac.core.attempt import Attempt, Failure, Outcome
from celeriac.core.current import attempting
from celeriac.core.message import DELIVERY_HEADER, WORKFLOW_HEADER, DeliveryFacts
from celeriac.core.text import writable
from celeriac.execution.pipeline import complete, key_of
from celeriac.execution.room import room_of

logger = logging.getLogger(__name__)


@contextmanager
def buried(app: Any, message: Any, worker: str, reason: str, error: Exception) -> Iterator[None]:
    """Settle ``message`` as a dead letter; what Celery does about it itself goes inside the block.

    Whatever that records is part of the settlement, so that nobody sees half of it.
    """
    headers = message.headers or {}
    if DELIVERY_HEADER not in headers:  # of Celery's first protocol, or no task's at all
        yield
        return
    attempt = _attempt(app, headers, worker, reason, error)
    held = app.keeper.find(attempt.delivery.lease)
    if held is not None:
        held.managed = True  # it leaves the queue with the settlement
    with attempting(attempt):
        try:
            yield
            _tell(app, attempt, message, error)
        except Exception:  # whatever it is, it is no reason to end the worker
            logger.exception("telling of %s[%s] failed", attempt.name, attempt.task_id)
    room = room_of(app)
    complete(room, attempt, {**headers, **embedded(message)}, app.backend)
    room.settler.settle(attempt, at_once=True)


def _attempt(app: Any, headers: dict[str, Any], worker: str, reason: str, error: Exception) -> Attempt:
    cls = type(error)
    return Attempt(
        task_id=headers["id"],
        name=headers["task"],
        delivery=DeliveryFacts.from_header(headers[DELIVERY_HEADER]),
        worker=worker,
        started_at=app.store.now(),
        key=key_of(headers["task"], headers),
        workflow=headers.get(WORKFLOW_HEADER),
        buffering=True,
        outcome=Outcome.DEAD_LETTERED,
        failure=Failure(reason, f"{cls.__module__}.{cls.__qualname__}", writable(error)),
    )


def _tell(app: Any, attempt: Attempt, message: Any, error: Exception) -> None:
    request = Context(message.headers, called_directly=False, **embedded(message))
    app.backend.mark_as_failure(attempt.task_id, error, request=request)


def embedded(message: Any) -> dict[str, Any]:
    """The callbacks, the rest of the chain and the chord of a task message; empty where it cannot be read."""
    with suppress(Exception):
        args, kwargs, embed = message.payload
        if isinstance(embed, dict):
            return {**embed, "args": args, "kwargs": kwargs}
    return {}


def well_formed(body: Any) -> bool:
    """Whether a decoded body of Celery's second protocol has the parts that one has."""
    if not isinstance(body, (list, tuple)) or len(body) != 3:  # noqa: PLR2004  # args, kwargs, options
        return False
    args, kwargs, options = body
    return isinstance(args, (list, tuple)) and isinstance(kwargs, dict) and isinstance(options, (dict, type(None)))
