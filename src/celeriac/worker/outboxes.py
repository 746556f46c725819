"""What applications wrote into their outboxes goes to the broker, from any worker that is told of their databases."""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import bootsteps

from celeriac.publish.relay import Relay
from celeriac.store.tables import Outside
from celeriac.worker.forks import apart_from_forks

logger = logging.getLogger(__name__)

#: Seconds after which the outbox is looked at, though nothing told of a commit.
LONGEST = 1.0
#: Seconds until the next try while a database or the broker is away: first, longest.
AWAY, LONGEST_AWAY = 0.2, 5.0


class Outboxes(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A thread an outbox, while the worker runs."""

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._stop = threading.Event()

    def include_if(self, worker: Any) -> bool:
        return bool(worker.app.outboxes or worker.app.local_outbox)

    def start(self, worker: Any) -> None:
        relays = [Relay(worker.app, Outside(url)) for url in worker.app.outboxes]
        if worker.app.local_outbox is not None:
            relays.append(worker.app.local_outbox.relay())
        for relay in relays:
            relaying = Relaying(relay, self._stop)
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
            with apart_from_forks():
                given = self._relay.once()
            if not given:
                self._relay.outside.wait(LONGEST)
        except Exception as error:  # noqa: BLE001  # whatever it is, what was written stays written
            if self._pause == AWAY:
                logger.warning("the outbox in %s cannot be emptied, trying on: %s", self._relay.outside.location, error)
            self._stop.wait(self._pause)
            self._pause = min(self._pause * 2, LONGEST_AWAY)
        else:
            self._pause = AWAY
