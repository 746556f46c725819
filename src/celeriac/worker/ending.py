"""A worker that is asked to end tells the tasks that can give way."""

from __future__ import annotations

import threading
from typing import Any

from celery import bootsteps, signals


class Ending(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """From the first word of a shutdown, warm or cold, tasks in checkpoints give way after the row in hand."""

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._worker, self._app = worker, worker.app
        worker.asked_to_end = False

    def include_if(self, worker: Any) -> bool:
        return bool(worker.app.has_ledger)

    def start(self, worker: Any) -> None:
        self._app.execution_room.ending.take_back()
        if threading.current_thread() is threading.main_thread():  # otherwise no signal is its
            signals.worker_shutting_down.connect(self._on_shutting_down, weak=False)

    def stop(self, worker: Any) -> None:
        self._begin()

    def close(self, worker: Any) -> None:
        """Celery calls this first of all, also where remote control asked."""
        self._begin()

    def _on_shutting_down(self, **_: Any) -> None:
        self._begin()

    def _begin(self) -> None:
        self._worker.asked_to_end = True
        self._app.execution_room.ending.begin()
