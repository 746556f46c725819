"""Whether somebody hears of a task's failure without asking for its result."""

from __future__ import annotations

from typing import Any


def tells_somebody(request: Any) -> bool:
    """Whether the request, a mapping or Celery's context, has an error callback, or a chord whose body tells of it."""
    if request is None:
        return False
    get = request.get
    return bool(get("errbacks") or (get("chord") and get("group")))
