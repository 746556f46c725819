"""A worker that was asked to end does so within its grace: what still runs then is handed back, as if it had not begun."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from celery import bootsteps, signals
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.platforms import EX_FAILURE, EX_OK

from celeriac.execution.request import Request
from celeriac.store.native import NativeEvent, start_thread
from celeriac.transport.leases import Held

logger = logging.getLogger(__name__)

#: Seconds that handing back may take; a store that is silent for longer has the leases run out.
LONGEST = 3.0
SETTING = "celeriac_shutdown_grace_seconds"


def grace_of(app: Any) -> float | None:
    """Seconds between being asked to end and the end; None where Celery's way is kept, which waits for what runs."""
    asked = app.user_sets(SETTING) or SETTING.upper() in os.environ
    return app.own_settings.shutdown_grace_seconds if asked or app.defaults == "safe" else None


class Grace(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Counts from the first word of a warm shutdown on a thread of the system's, which no task keeps from its turn.

    Only C code that does not let go of the interpreter holds it up; then whoever supervises the worker ends it, and its
    leases run out.
    """

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._worker = worker
        self._seconds = grace_of(worker.app) if worker.app.has_ledger else None
        self._begun = False
        self._over = NativeEvent()
        worker.grace = self

    def include_if(self, worker: Any) -> bool:
        return worker.app.has_ledger and grace_of(worker.app) is not None

    def start(self, worker: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            self._begun = True  # never: an embedded worker's process is somebody's program, which is not ours to end
            return
        signals.worker_shutting_down.connect(self._on_shutting_down, weak=False)
        if not isinstance(worker.pool, PreforkPool):
            # Tasks may run in the main thread, and keep it from Celery's handler.
            _listen(self.begin)

    def stop(self, worker: Any) -> None:
        self.begin()

    def close(self, worker: Any) -> None:
        """Celery calls this first of all, also where remote control asked."""
        self.begin()

    def _on_shutting_down(self, how: str = "", **_: Any) -> None:
        if how == "Warm":
            self.begin()

    def begin(self) -> None:
        """From now on there is so much time."""
        if not self._begun:
            self._begun = True
            start_thread(self._wait)

    def over(self) -> None:
        """Nothing runs any more."""
        self._over.set()

    def _wait(self) -> None:
        assert self._seconds is not None  # otherwise the step is left out
        if self._over.wait(self._seconds):
            return
        try:
            self._end()
        except BaseException:
            logger.exception("what still runs could not be handed back; it is another's when its lease is over")
        finally:
            os._exit(EX_FAILURE)

    def _end(self) -> None:
        start_thread(_last_of_all)
        Request.ended_by_us = True
        for pid in _processes(self._worker.pool):
            with suppress(OSError):  # it has just ended
                os.kill(pid, signal.SIGKILL)
        self._tell(hand_back(self._worker.app.keeper))
        _leave(self._worker)

    def _tell(self, ended: Sequence[Held]) -> None:
        if not ended:  # what ran has ended, and the pool is still leaving
            return
        logger.warning(
            "%s not over after %s = %g s, and handed back: %s. What takes longer is better cut into parts",
            "1 task was" if len(ended) == 1 else f"{len(ended)} tasks were",
            SETTING,
            self._seconds,
            ", ".join(f"{held.name or '?'}[{held.task_id}]" for held in ended),
        )


def hand_back(keeper: Any) -> list[Held]:
    """Everything that is held, no attempt counted; what must not run twice becomes a dead letter where it is claimed next.

    Returns those whose runs that has ended. The store says so: a pool's process settles by itself, and its parent may
    not have heard of that yet.
    """
    held = list(keeper.held.values())
    store = keeper.store.keeper()
    keeper.stop()
    once = [item.lease for item in held if item.started and item.once]
    keeper.given_up.update(item.lease for item in held)
    back = store.release([item.lease for item in held if not (item.started and item.once)])
    back += store.release(once, crashed=True, error="its worker was ended while it ran")
    return [item for item in held if item.started and item.lease in back]


def _processes(pool: Any) -> list[int]:
    """Those of a prefork pool; the others have none."""
    inner = getattr(pool, "_pool", None) if isinstance(pool, PreforkPool) else None
    return [process.pid for process in list(getattr(inner, "_pool", None) or ())]


def _leave(worker: Any) -> None:
    if getattr(worker, "pidlock", None):
        worker.pidlock.release()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EX_OK)


def _last_of_all() -> None:
    NativeEvent().wait(LONGEST)
    try:
        logger.error(
            "the store is silent, so what still runs is not handed back: it is another's when its lease is over"
        )
    finally:
        os._exit(EX_FAILURE)


def _listen(begin: Callable[[], None]) -> None:
    """Call it when SIGTERM comes, whatever the main thread does: Python's own handlers are its."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) if hasattr(os, "pipe2") else os.pipe()
    os.set_blocking(reading, True)
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    if before != -1:  # somebody else's, who may need it more
        signal.set_wakeup_fd(before)
        return
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))

    def read() -> None:
        while data := os.read(reading, 64):
            if signal.SIGTERM in data:
                begin()

    start_thread(read)
