"""Timers, of which none keeps a worker longer than its work does.

Celery sets a timer for each time limit of each task, and a cancelled one stays
in the event loop until it would have been due. At thousands of tasks a second
and a limit of half an hour that is gigabytes.
"""

from __future__ import annotations

import heapq
import threading
from typing import Any

from celery.utils.timer2 import Timer as CeleryTimer

#: Seconds that what a timer does just then may still take when its worker ends.
MOMENT = 0.1
#: Seconds between looks, and the cancelled timers that are worth one.
EVERY, WORTH = 0.25, 1000


def sweep_in(hub: Any) -> None:
    """Sweep this event loop's timers from now on."""
    hub.call_repeatedly(EVERY, sweep, hub.timer)


def sweep(timer: Any) -> int:
    """Drop cancelled timers where there are many; returns how many went."""
    queue = timer._queue  # noqa: SLF001  # kombu has no other way to it
    if len(queue) < WORTH:
        return 0
    alive = [item for item in queue if not item.entry.canceled]
    dropped = len(queue) - len(alive)
    if dropped >= WORTH:
        # In place: the event loop holds on to the list.
        queue[:] = alive
        heapq.heapify(queue)
        return dropped
    return 0


class Timer(CeleryTimer):  # type: ignore[misc]  # Celery has no types
    """Celery's thread, for the pools without an event loop. A worker that ends waits two seconds for it to wake up."""

    def stop(self) -> None:
        ending = threading.Thread(target=super().stop, name="celeriac-timer-stop", daemon=True)
        ending.start()
        ending.join(MOMENT)
