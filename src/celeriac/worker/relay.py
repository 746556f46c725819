"""What the ledger has for a broker that is no store goes there, from any worker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from celery import bootsteps
from kombu.exceptions import OperationalError

from celeriac.core.message import Delivery, Lease, TaskMessage
from celeriac.errors import StoreError
from celeriac.publish.forwarding import Forwarder
from celeriac.store.protocols import News, Store
from celeriac.worker.forks import apart_from_forks

logger = logging.getLogger(__name__)

#: Messages that are taken at once.
BATCH = 100
#: Seconds between looks in vain while others commit, so that not each commit is a look; and the longest without one.
PAUSE, LONGEST_WAIT = 0.02, 1.0
#: Maintenance's rounds between which a message is given to the broker and, in an empty queue, counts as lost.
MISSING = 3
#: Seconds between tries while the broker is away: first, longest.
AWAY, LONGEST_AWAY = 0.1, 5.0


class Relay(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A thread that empties the outbox while the worker runs."""

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._stop = threading.Event()

    def include_if(self, worker: Any) -> bool:
        return worker.app.ledger_beside is not None

    def start(self, worker: Any) -> None:
        outbox = Outbox(worker.app, self._stop)
        threading.Thread(target=outbox.run, name="celeriac-relay", daemon=True).start()

    def stop(self, worker: Any) -> None:
        self._stop.set()

    terminate = stop


class Outbox:
    """Gives the broker what is ready, due, or was lost on the way."""

    def __init__(self, app: Any, stop: threading.Event) -> None:
        self._app, self._stop = app, stop
        self._lease: float = app.own_settings.lease_seconds
        self._again: float = app.own_settings.relay_again_seconds
        self._every: float = app.own_settings.maintenance_seconds
        self._broker = Forwarder(app)
        self._look_at = time.monotonic() + self._every
        self._in_vain = float("-inf")

    def run(self) -> None:
        """Until the worker ends."""
        store = self._app.store.keeper()
        try:
            while not self._stop.wait(self._pause()):
                self._round(store)
        finally:
            self._broker.close()
            store.close()

    def _pause(self) -> float:
        return PAUSE if time.monotonic() - self._in_vain < PAUSE else 0.0

    def _round(self, store: Store) -> None:
        try:
            mark = store.mark(News.WORK)
            if self.relay(store):
                return
            self._in_vain = time.monotonic()
            if time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + self._every
                self._look_for_lost(store)
            due = store.next_due()
            store.wait(LONGEST_WAIT if due is None else max(0.0, min(LONGEST_WAIT, due - store.now())), mark, News.WORK)
        except StoreError as error:
            logger.warning("relaying is put off: %s", error)
            self._stop.wait(LONGEST_WAIT)
        except Exception:
            logger.exception("relaying failed, trying again")
            self._stop.wait(LONGEST_WAIT)

    def relay(self, store: Store) -> bool:
        """Give the broker one batch; false when there was none."""
        taken = store.take_for_relay(BATCH, self._lease)
        if not taken:
            return False
        given: list[Lease] = []
        for delivery in taken:
            if self._give(store, delivery):
                given.append(delivery.lease)
            if self._stop.is_set():
                break  # what is left is another's when the lease is over
        store.relayed(given, self._again)
        return True

    def _give(self, store: Store, delivery: Delivery) -> bool:
        """Publish until the broker has confirmed it; false when it never will."""
        pause, told = AWAY, False
        while True:
            try:
                with apart_from_forks():
                    self._broker.publish(delivery)
            except OperationalError as error:
                self._broker.close()
                if not told:
                    told = True
                    logger.warning("the ledger's messages cannot be given to the broker, trying on: %s", error)
            except Exception as error:  # noqa: BLE001  # the message's own fault; the others go on
                self._bury(store, delivery, error)
                return False
            else:
                return True
            if self._stop.wait(pause):
                return False
            pause = min(pause * 2, LONGEST_AWAY)

    def _bury(self, store: Store, delivery: Delivery, error: Exception) -> None:
        logger.error(
            "the broker cannot be given task %s, which is kept as a dead letter", delivery.task_id, exc_info=error
        )
        row = TaskMessage(delivery.queue, delivery.envelope, delivery.body, task_id=delivery.task_id)
        [held] = store.adopt([row], owner="relay", lease=self._lease)
        if isinstance(held, Delivery):
            store.reject(held.lease, "unsendable", type(error).__name__, str(error))

    def _look_for_lost(self, store: Store) -> None:
        """A broker that restarted without its data has empty queues, and the ledger knows what was in them."""
        queues = [size.queue for size in store.sizes() if size.extra.get("relayed")]
        for queue in self._empty(queues):
            count = store.relay_again(queue, MISSING * self._every, self._again)
            if count:
                logger.warning(
                    "queue %s is empty, and %d tasks that it was given have not come: sending them again. Either the broker has lost "
                    "them, or workers that are not celeriac's read the queue, and run them beside it",
                    queue,
                    count,
                )

    def _empty(self, queues: Sequence[str]) -> list[str]:
        try:
            with apart_from_forks():
                return [queue for queue in queues if self._broker.is_empty(queue)]
        except OperationalError as error:
            logger.debug("the broker's queues cannot be looked at now: %s", error)
            self._broker.close()
            return []
