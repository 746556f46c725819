"""Who is told when a task's retries are used up."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task as CeleryTask

from celeriac.core.retries import GiveUp
from celeriac.core.text import writable

logger = logging.getLogger(__name__)


def tell(task: Any, request: Any, gave_up: GiveUp, error: BaseException) -> None:
    """Send, or call, the policy's ``on_exhausted``; what is published meanwhile goes with the settlement.

    Whatever it raises is logged: the task has failed, and not otherwise than it did.
    """
    whom = gave_up.policy.on_exhausted if gave_up.policy is not None else None
    if whom is None or gave_up.reason == "permanent":
        return
    try:
        _tell(task, request, whom, report(task, request, gave_up, error))
    except Exception:
        logger.exception("on_exhausted of %s[%s] could not be told", task.name, request.id)


def report(task: Any, request: Any, gave_up: GiveUp, error: BaseException) -> dict[str, Any]:
    """What it is given, which JSON can hold where it can hold the task's arguments."""
    kind = type(error)
    return {
        "id": request.id,
        "task": task.name,
        "args": list(request.args or ()),
        "kwargs": dict(request.kwargs or {}),
        "retries": request.retries or 0,
        "reason": gave_up.reason,
        "error_type": f"{kind.__module__}.{kind.__qualname__}",
        "error": writable(error),
    }


def _tell(task: Any, request: Any, whom: Any, given: dict[str, Any]) -> None:
    signature = _signature(task.app, whom)
    if signature is None:
        whom(given)
        return
    options = {"parent_id": request.id, "root_id": request.root_id or request.id}
    send = signature.apply if request.is_eager else signature.apply_async
    send((given,), **options)


def _signature(app: Any, whom: Any) -> Any:
    """As a signature; None for a function."""
    if isinstance(whom, (str, dict)):
        return app.signature(whom)
    return whom.s() if isinstance(whom, CeleryTask) else None
