"""What replaces a task has its id, and so one end: a group that it ends in is joined."""

from __future__ import annotations

from typing import Any

from celery.canvas import _chain, chord, group, maybe_signature


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
