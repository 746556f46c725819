"""The consumer: what it cannot take becomes a dead letter, and never the end of the worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.exceptions import InvalidTaskError, NotRegistered, WorkerTerminate
from celery.platforms import EX_FAILURE
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.consumer.consumer import INVALID_TASK_ERROR, UNKNOWN_TASK_ERROR

from celeriac.core.current import current
from celeriac.core.message import DELIVERY_HEADER
from celeriac.execution.request import Request
from celeriac.execution.unrunnable import buried, well_formed
from celeriac.worker.adoption import Adopter
from celeriac.worker.prefork import TaskPool

logger = logging.getLogger(__name__)


class _NotDiscarded(logging.Filter):
    """Celery says of what no worker can run, on twenty lines, that it is discarded; here it is kept, and that is said."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.msg not in (UNKNOWN_TASK_ERROR, INVALID_TASK_ERROR) or current() is None


logging.getLogger(CeleryConsumer.__module__).addFilter(_NotDiscarded())

#: What Celery's reading of a malformed message raises.
_MALFORMED = (TypeError, ValueError, KeyError, AttributeError)

#: Seconds after which an idle worker's loop goes round.
LOOP = 0.5


class Consumer(CeleryConsumer):  # type: ignore[misc]  # Celery has no types
    """Celery's consumer, which would drop unknown and acknowledge undecodable messages."""

    #: Beside a broker that is no store.
    adopter: Adopter | None = None

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> Any:
            try:
                return handle(message)
            except _MALFORMED as error:
                # Only the solo pool runs tasks in here, and their errors are no reading errors.
                if well_formed(message.payload):
                    raise
                shape = InvalidTaskError(f"the body is not (args, kwargs, options): {error}")
                return self.on_invalid_task(message.body, message, shape)

        if self.app.ledger_beside is None:
            return on_task_received
        return partial(self._adopter().receive, run=on_task_received)

    def _adopter(self) -> Adopter:
        if self.adopter is None:
            self.adopter = Adopter(self, isolates=isinstance(self.pool, PreforkPool))
        return self.adopter

    def connect(self) -> Any:
        connection = super().connect()
        if self.app.has_store:
            # What is claimed, and what crashes, is said to be this node's, as everything else of its.
            transport = connection.transport
            transport.owner = self.hostname
            transport.last_chance = max(1, self.app.own_settings.max_crashes - 1)
            transport.isolates = isinstance(self.pool, PreforkPool)
            transport.shares = self.app.amqp.queues.shares
            # Whoever drives a consumer without a worker ends it himself.
            transport.ending = lambda: getattr(self.controller, "asked_to_end", False)
        return connection

    def loop_args(self) -> Any:
        if self.app.has_store:
            # Celery's plain loop waits two seconds for messages, and looks whether it shall stop only after them.
            self.connection.transport.longest_drain = LOOP
        return super().loop_args()

    def _limit_task(self, request: Any, bucket: Any, tokens: int) -> Any:
        """As Celery's; what waits for a rate limit is not handed back as if it waited for a slot."""
        if isinstance(request, Request):
            request.on_limited()
        return super()._limit_task(request, bucket, tokens)

    def stop(self) -> None:
        if self.adopter is not None:
            self.adopter.end()
        super().stop()

    #: A cold shutdown left tasks running in this process.
    abandoned = False

    def cancel_active_requests(self) -> None:
        """Called by the signal handlers of a cold shutdown.

        Celery asks the pool to end what runs. Only processes can be ended; with
        threads and greenlets Celery would raise or wait for them, so this process ends.

        Raises:
            WorkerTerminate: the pool runs its tasks in this process.
        """
        if isinstance(self.pool, TaskPool):
            self.pool.tell_what_began()  # Celery ends what it was told of
        if not self.app.has_ledger or isinstance(self.pool, PreforkPool):
            super().cancel_active_requests()
            return
        self.abandoned = True
        raise WorkerTerminate(EX_FAILURE)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        if isinstance(self.pool, TaskPool):
            self.pool.keep_what_began()  # before the connection hands back what has not
        super().on_connection_error_after_connected(exc)
        if self.adopter is not None:
            self.adopter.restore()

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        headers = message.headers or {}
        with self._buried(message, "unknown-task", NotRegistered(str(headers.get("task")))):
            if current() is not None:
                said = "task %s[%s] is not known to this worker: does it import the module that declares it?"
                logger.error(said, headers.get("task"), headers.get("id"))
            super().on_unknown_task(body, message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        if self.adopter is not None and DELIVERY_HEADER not in message.headers:  # kombu found it, before it was adopted
            self.adopter.receive(message, partial(self._bury_undecodable, exc=exc))
        else:
            self._bury_undecodable(message, exc)

    def _bury_undecodable(self, message: Any, exc: Exception) -> None:
        with self._buried(message, "undecodable", exc):
            super().on_decode_error(message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        with self._buried(message, "invalid", exc):
            if current() is not None:
                headers = message.headers or {}
                logger.error("task %s[%s] cannot be run: %s", headers.get("task"), headers.get("id"), exc)
            super().on_invalid_task(body, message, exc)

    def _buried(self, message: Any, reason: str, exc: Exception) -> AbstractContextManager[None]:
        return buried(self.app, message, self.hostname, reason, exc)
