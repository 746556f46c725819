"""The task that goes on with a chain whose rest is kept, where a worker sent it that knows of no such thing."""

from __future__ import annotations

from typing import Any

from celery import signature

from celeriac.core.chains import REST, standing_for
from celeriac.transport.chains import Rests


def add_rest_task(app: Any) -> None:
    """Give the app the task ``celeriac.rest``.

    Stock Celery, and celeriac before it kept rests, take what stands for a rest for one more step and send it: as a
    task with the last step's id, which is replaced by the steps that it stands for.
    """

    @app.task(name=REST, bind=True, shared=False, lazy=False, typing=False)  # type: ignore[untyped-decorator]  # Celery has no types
    def rest(self: Any, *args: Any) -> Any:
        standing = standing_for(args[-2], args[-1], {"task_id": self.request.id})
        *behind, step = Rests(self.app.store, self.app.conf.accept_content).with_next([standing])
        goes_on = signature(step, app=self.app).clone(args[:-2])
        for other in behind:
            goes_on |= signature(other, app=self.app)
        return self.replace(goes_on)
