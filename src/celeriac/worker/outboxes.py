"""What applications wrote into their outboxes goes to the broker, from any worker that is told of their databases."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from celery import bootsteps

from celeriac.publish.relay import Relay
from celeriac.store.tables import Outside

logger = logging.getLogger(__name__)

#: Seconds between looks where nothing tells of a commit, and the longest without one where something does.
LOOK, LONGEST = 0.05, 1.0
#: Seconds until the next try while a database or the broker is away: first, longest.
AWAY, LONGEST_AWAY = 0.2, 5.0


class Outboxes(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A thread an outbox, while the worker runs."""

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._stop = threading.Event()

    def include_if(self, worker: Any) -> bool:
        return bool(worker.app.outboxes)

    def start(self, worker: Any) -> None:
        for url in worker.app.outboxes:
            relaying = Relaying(Relay(worker.app, Outside(url)), self._stop)
            threading.Thread(target=relaying.run, name="celeriac-outbox", daemon=True).start()

    def stop(self, worker: Any) -> None:
        self._stop.set()

    terminate = stop


class Relaying:
    """Relays until it is stopped, however long a database or the broker is away."""

    def __init__(self, relay: Relay, stop: threading.Event) -> None:
        self._relay, self._stop = relay, stop
        self._pause = AWAY

    def run(self) -> None:
        """Until the worker ends."""
        try:
            while not self._stop.is_set():
                self._round()
        finally:
            self._relay.outside.close()

    def _round(self) -> None:
        try:
            if not self._relay.once():
                self._wait()
        except Exception as error:  # noqa: BLE001  # whatever it is, what was written stays written
            if self._pause == AWAY:
                logger.warning("the outbox in %s cannot be emptied, trying on: %s", self._relay.outside.location, error)
            self._stop.wait(self._pause)
            self._pause = min(self._pause * 2, LONGEST_AWAY)
        else:
            self._pause = AWAY

    def _wait(self) -> None:
        """Until something was committed, as far as that shows."""
        if self._relay.outside.dialect == "sqlite":
            self._watch()
            return
        raw = self._relay.outside.raw
        raw.execute("LISTEN celeriac_outbox")
        for _ in raw.notifies(timeout=LONGEST, stop_after=1):
            pass

    def _watch(self) -> None:
        raw, until = self._relay.outside.raw, time.monotonic() + LONGEST
        seen = raw.execute("PRAGMA data_version").fetchone()
        while time.monotonic() < until and raw.execute("PRAGMA data_version").fetchone() == seen:
            if self._stop.wait(LOOK):
                return
