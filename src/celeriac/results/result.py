"""Celery's result, which also knows how far its task is, and of which workflow."""

from __future__ import annotations

from typing import Any

from celery.result import AsyncResult as CeleryResult
from celery.result import GroupResult

from celeriac.core.checkpoint import Progress, progress_of


class AsyncResult(CeleryResult):  # type: ignore[misc]  # Celery has no types
    """As Celery's, with ``progress`` and ``workflow_id``; its ``state`` and ``info`` are what they are in Celery."""

    app: Any
    #: The id of the workflow of which this result was given. None of a task that was sent by itself, and of a result that is
    #: asked anew: ``app.workflows.get(result.id)`` finds it by the id of any of its tasks.
    workflow_id: str | None = None
    #: Whether its workflow goes on without members of chords that give up.
    goes_on_without = False

    @property
    def progress(self) -> Progress | None:
        """How far the task is, by its own ``self.progress()`` or ``self.iterate()``; None before it has said so.

        Raises:
            StoreError: the store cannot be read.
        """
        if not self.app.has_ledger:
            return None
        return progress_of(self.app.store.checkpoints([self.id]).get(self.id))

    def _maybe_reraise_parent_error(self) -> None:
        """As Celery's, but for a failure without which this task goes on, or has succeeded: that was redriven since."""
        try:
            for node in reversed(list(self._parents())):
                if not (self.goes_on_without and isinstance(node, GroupResult)):
                    node.maybe_throw()
        except Exception:
            if not self.successful():
                raise
