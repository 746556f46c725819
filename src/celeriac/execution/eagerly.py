"""Tasks that are run in place, by `apply()` or with `task_always_eager`: what they say of how far they are is kept with the result."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from celery.result import EagerResult as CeleryResult

from celeriac.core.checkpoint import Progress, whole


class EagerResult(CeleryResult):  # type: ignore[misc]  # Celery has no types
    """As Celery's, with what our other results have: nothing of it is in any store.

    ``progress`` is how far the task was when it last said so; None where it has not.
    """

    #: What runs in place is recorded nowhere.
    workflow_id: str | None = None

    def __init__(self, *given: Any, progress: Progress | None = None) -> None:
        super().__init__(*given)
        self.progress = progress

    def __reduce__(self) -> Any:
        return partial(type(self), progress=self.progress), self.__reduce_args__()


#: What those that run in place say, by their ids: the innermost run of an id last.
_SAID: dict[str, list[list[Progress]]] = {}
_LOCK = threading.Lock()


@contextmanager
def in_place(task_id: str) -> Iterator[list[Progress]]:
    """Run a task in place; gives what it has said last, in a list."""
    said: list[Progress] = []
    with _LOCK:
        _SAID.setdefault(task_id, []).append(said)
    try:
        yield said
    finally:
        with _LOCK:
            left = [one for one in _SAID.pop(task_id) if one is not said]
            if left:
                _SAID[task_id] = left


def tell_in_place(task_id: str, done: float, total: float | None, note: str | None) -> None:
    """Note how far a task is that runs in place."""
    for said in _SAID.get(task_id, ())[-1:]:
        said[:] = [Progress(whole(done), None if total is None else whole(total), note, time.time())]


def with_progress(result: Any, said: list[Progress]) -> Any:
    """Celery's result as ours, with what was said last; one of ours is that of a retry."""
    if type(result) is not CeleryResult:
        return result
    return EagerResult(*result.__reduce_args__(), progress=said[0] if said else None)
