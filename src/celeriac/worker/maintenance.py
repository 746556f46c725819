"""Pruning, rescuing and handing back, in every worker."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import Any

from celery import bootsteps

from celeriac.errors import StoreError
from celeriac.execution.limits import take_over
from celeriac.results import chords
from celeriac.settings import OwnSettings
from celeriac.store.protocols import Store
from celeriac.transport.base import StoreTransport
from celeriac.worker import timers
from celeriac.worker.forks import apart_from_forks
from celeriac.worker.stepping import Steps
from celeriac.workflow.noting import Noting

logger = logging.getLogger(__name__)

#: Seconds between looks at what takes room: a busy queue leaves thousands of deleted rows a second.
TIDIED = 2.0


class Maintenance(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A thread that looks after the store while the worker runs."""

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        take_over(worker)
        self._stop = threading.Event()
        self._workflows = Noting()

    def include_if(self, worker: Any) -> bool:
        return bool(worker.app.has_ledger)

    def start(self, worker: Any) -> None:
        StoreTransport.adaptive = not worker.app.user_sets("worker_prefetch_multiplier")
        worker.app.keeper.watch()
        with suppress(StoreError):  # the thread looks again
            worker.app.execution_room.pauses.look(worker.app.store)
        threading.Thread(target=self._run, args=(worker.app,), name="celeriac-maintenance", daemon=True).start()

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Celery calls this where the pool has an event loop."""
        timers.sweep_in(hub)

    def stop(self, worker: Any) -> None:
        self._stop.set()

    terminate = stop

    def _run(self, app: Any) -> None:
        store = app.store.keeper()
        every = app.own_settings.maintenance_seconds
        due, steps = time.monotonic() + every, Steps()
        while not self._stop.wait(min(every, TIDIED)):
            try:
                with apart_from_forks():
                    app.execution_room.pauses.look(store)
                    store.tidy()
                    if steps.look(store):
                        store.look_again()
                    if time.monotonic() >= due:
                        due = time.monotonic() + every
                        self._round(app, store)
            except StoreError as error:
                logger.warning("maintenance is put off: %s", error)
            except Exception:
                logger.exception("maintenance failed, trying again in %.0f s", every)
        store.close()

    def _round(self, app: Any, store: Store) -> None:
        try:
            store.let_go()
            for group_id in store.chords_waiting(app.own_settings.maintenance_seconds):
                chords.dispatch(app.backend, group_id)
            # After what waited for a worker was sent: a workflow that only that goes on with is not lost. And before results
            # are forgotten: those that have expired while no worker was there say how it has ended.
            self._workflows.note(store)
        finally:
            self._prune(app.own_settings, store)

    @staticmethod
    def _prune(own: OwnSettings, store: Store) -> None:
        now, letters = store.now(), own.dead_letter_expires
        store.prune(
            now,
            attempts_before=now - own.history_expires,
            dead_letters_before=None if letters is None else now - letters,
        )
