"""When error callbacks are called: those sent as tasks go with the settlement, those called in place run after it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from celeriac.core.attempt import Attempt


def call_in_turn(backend: Any, attempt: Attempt, call: Callable[..., None], request: Any, *failure: Any) -> None:
    """Have ``call``, which is Celery's, call the error callbacks of ``request``, each kind when it is its turn.

    ``failure`` is the exception and its traceback.
    """
    inline = [errback for errback in request.errbacks if _runs_inline(backend, errback)]
    sent = [errback for errback in request.errbacks if errback not in inline]
    if sent:
        attempt.telling = True
        call(_with_errbacks(request, sent), *failure)
        attempt.telling = False
    if inline:
        attempt.after_settle.append(partial(call, _with_errbacks(request, inline), *failure))


def _runs_inline(backend: Any, errback: Any) -> bool:
    """Celery calls an error callback in place when it takes (request, exc, traceback)."""
    signature = backend.app.signature(errback)
    task = backend.app.tasks.get(signature.task)
    header = getattr(task, "__header__", None)
    if header is None or isinstance(header, partial):
        return False
    return bool(backend._errback_arity_greater(signature, 1))  # noqa: SLF001  # Celery's own question


def _with_errbacks(request: Any, errbacks: list[Any]) -> Any:
    """The request as it is, with these error callbacks alone."""
    copy = type(request)(request.__dict__)
    copy.errbacks = errbacks
    return copy
