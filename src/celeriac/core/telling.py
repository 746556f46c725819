"""Whether somebody hears of a task's failure without asking for its result."""

from __future__ import annotations

from typing import Any


def tells_somebody(request: Any) -> bool:
    """Whether the request has an error callback, or a chord whose body tells of it.

    It is a mapping or Celery's context; for a task that no worker knows, Celery makes an object with only some of both.
    """
    if request is None:
        return False
    known = request if isinstance(request, dict) else vars(request)
    return bool(known.get("errbacks") or (known.get("chord") and known.get("group")))
