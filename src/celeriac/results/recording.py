"""What Celery reports of a task, as the record that the ledger keeps."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from celery import states

from celeriac.core.attempt import Record
from celeriac.core.telling import tells_somebody
from celeriac.core.text import writable


class Recording:
    """Makes records; ``backend`` encodes what stands in them, and says how long they are kept."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def record(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None,
        request: Any,
        now: float,
        generation: int = 0,
    ) -> Record:
        """The record of a state; ``result`` is as Celery's ``encode_result`` made it, ``request`` its own, or None."""
        closed, expires = state in states.READY_STATES, self._backend.expires
        return Record(
            task_id,
            generation,
            state,
            closed,
            name=getattr(request, "task", None),
            retries=getattr(request, "retries", None) or 0,
            finished_at=now if closed else None,
            result=self._backend.encode(result),
            traceback=traceback and writable(traceback),
            meta=self._meta(request),
            expires_at=now + expires if expires else None,
            **_failure(request, result, state),
        )

    @cached_property
    def _extended(self) -> bool:
        return bool(self._backend.app.conf.find_value_for_key("extended", "result"))

    def _meta(self, request: Any) -> str | None:
        """What else Celery wants to know of a result, only where there is anything."""
        if request is None:
            return None
        children = [child.as_tuple() for child in getattr(request, "children", None) or ()]
        found = (
            ("children", children),
            ("group_id", getattr(request, "group", None)),
            ("parent_id", getattr(request, "parent_id", None)),
        )
        meta: dict[str, Any] = {key: value for key, value in found if value}
        if self._extended:
            meta.update(self._extension(request))
        return json.dumps(meta) if meta else None

    def _extension(self, request: Any) -> dict[str, Any]:
        encode = self._backend.encode
        # A request that stands for an unknown task has none of these.
        found = {name: encode(getattr(request, name, None)) for name in ("args", "kwargs")}
        names, stamps = getattr(request, "stamped_headers", None), getattr(request, "stamps", None)
        if names and stamps:
            found["stamps"] = encode({name: stamps[name] for name in names if name in stamps})
        return found


def _failure(request: Any, result: Any, state: str) -> dict[str, Any]:
    """What the list of unread failures has of a failure; ``result`` is Celery's form of the exception."""
    if state != states.FAILURE:
        return {}
    if isinstance(result, dict) and "exc_type" in result:
        module, message = result.get("exc_module"), result.get("exc_message")
        kind = f"{module}.{result['exc_type']}" if module else str(result["exc_type"])
        said = ", ".join(map(str, message)) if isinstance(message, (list, tuple)) else str(message)
    else:
        kind, said = f"{type(result).__module__}.{type(result).__qualname__}", str(result)
    return {"error_type": kind, "error": writable(said), "told": tells_somebody(request)}
