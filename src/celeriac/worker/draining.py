"""The end of a prefork pool, as soon as its last process has said its last word.

Celery looks at one process after the other and sleeps for half a second at each that says nothing, has the event loop's
timers fire from a thread that sleeps for half a second too, and waits for it at the end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery.concurrency.asynpool import ResultHandler as CeleryResultHandler
from celery.concurrency.asynpool import _select
from celery.concurrency.prefork import _run_ready_callbacks

logger = logging.getLogger(__name__)

#: Seconds between looks at processes of which none says anything; between looks at timers, as Celery's.
LOOK, TIMERS = 0.1, 0.5
#: Seconds that a timer which runs may still take at the end.
PATIENCE = 1.0


class ResultHandler(CeleryResultHandler):  # type: ignore[misc]  # Celery has no types
    """Hears, at the end, whichever process speaks first."""

    def _flush_outqueue(self, fd: int, remove: Any, process_index: Any, on_state_change: Any) -> Any:
        process = process_index.get(fd)
        if process is None or self._says_something(fd):
            return super()._flush_outqueue(fd, remove, process_index, on_state_change)
        return None  # its turn comes again, after those of the others

    def _says_something(self, fd: int) -> bool:
        heard, _, broken = _select(set(self.fileno_to_outq), timeout=LOOK)
        return bool(broken) or fd in heard  # Celery sees to a pipe that is closed


@contextmanager
def timers_firing(hub: Any) -> Iterator[None]:
    """While the block waits for the pool: heartbeats, time limits, and the acknowledgements that ends bring."""
    if hub is None:  # the pool has no event loop
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_fire, args=(hub, over), name="celeriac-drain", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE)
        if thread.is_alive():
            logger.warning("a timer does not end, so the last acknowledgements are left to the broker")
        else:
            _acknowledge(hub)  # what the last ends have brought


def _fire(hub: Any, over: threading.Event) -> None:
    while not over.is_set():
        try:
            hub.fire_timers()
        except Exception:
            logger.exception("a timer raised while the pool was drained")
        _acknowledge(hub)
        over.wait(TIMERS)


def _acknowledge(hub: Any) -> None:
    try:
        _run_ready_callbacks(hub)
    except Exception:
        logger.exception("an acknowledgement raised while the pool was drained")
