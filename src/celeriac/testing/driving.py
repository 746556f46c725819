"""A worker's consumer without the worker: one message is claimed, run and settled at a time, in the thread that asks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from celery import _state, bootsteps
from celery.concurrency.base import BasePool
from celery.exceptions import TaskRevokedError
from celery.worker import state
from kombu.asynchronous.timer import Timer

from celeriac.core.attempt import Outcome
from celeriac.publish.limits import declared_rules
from celeriac.publish.relay import Relay
from celeriac.store.tables import Outside
from celeriac.testing.store import KitStore
from celeriac.worker.consumer import Consumer

#: Who runs the tasks, in their records.
HOSTNAME = "kit@test"


class OwnThread(BasePool):  # type: ignore[misc]  # Celery has no types
    """Runs a task where it is handed over; what ends the test, such as Ctrl-C, ends it from within a task too."""

    body_can_be_buffer = True
    #: Of the last task: whether it failed, its result or an `ExceptionInfo`, and how long it took.
    returned: tuple[Any, Any, Any] = (False, None, 0.0)

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        callback: Callable[[Any], object] | None = None,
        accept_callback: Callable[[int, float], object] | None = None,
        **options: Any,
    ) -> None:
        """As Celery's solo pool, which makes a dead process of whatever is no ``Exception``."""
        if accept_callback is not None:
            accept_callback(os.getpid(), time.monotonic())
        self.returned = target(*args, **(kwargs or {}))
        if callback is not None:
            callback(self.returned)


class StepsOfNoWorker(bootsteps.Blueprint):  # type: ignore[misc]  # Celery has no types
    """There is no connection to watch, and nobody to talk to."""

    name = "Consumer"
    default_steps = ()

    def __init__(self, steps: Any = None, **options: Any) -> None:
        super().__init__(steps=(), **options)


class KitConsumer(Consumer):
    """celeriac's consumer, driven from outside."""

    Blueprint = StepsOfNoWorker
    event_dispatcher = None


@contextmanager
def _as_in_a_worker(app: Any) -> Iterator[None]:
    """Which app is meant, Celery keeps for each thread; whoever asks where there is none makes one."""
    current = _state._tls.current_app  # noqa: SLF001
    _state._set_current_app(app)  # noqa: SLF001
    try:
        yield
    finally:
        _state._set_current_app(current)  # noqa: SLF001


class Driver:
    """Delivers to an app what waits in its store.

    Args:
        app: already on the store.
        store: the store.
        unmanaged: called with the request of each task that celeriac leaves to Celery, and the error that ended it or None.
    """

    def __init__(self, app: Any, store: KitStore, unmanaged: Callable[[Any, BaseException | None], None]) -> None:
        self._app, self._store, self._unmanaged = app, store, unmanaged
        self._known: frozenset[str] = frozenset()
        self._consumed: set[str] = set()
        self._relays: list[Relay] | None = None
        self._consumer = KitConsumer(
            self._run,
            hostname=HOSTNAME,
            pool=OwnThread(limit=1, app=app),
            app=app,
            timer=Timer(),
            controller=SimpleNamespace(state=state),
            disable_rate_limits=True,  # they are each worker's, by Python's clock
        )
        self._handle = self._consumer.create_task_handler()
        self._connection = self._consumer.connect()
        self._connection.transport.adaptive = False
        self._channel = self._connection.default_channel
        self._channel.basic_qos(prefetch_count=1)

    def step(self, queues: Sequence[str] | None) -> bool:
        """Deliver one message, of these queues or any; false when none is due."""
        self._take_over_tasks()
        self._consume(self._store.queues() if queues is None else queues)
        self._app.circuits.sync()
        try:
            with _as_in_a_worker(self._app):
                return bool(self._channel.poll(lambda: True))
        except BaseException:
            self._hand_back()
            raise

    def relay(self) -> bool:
        """Fetch what committed transactions wrote into the app's outboxes; false when there was nothing."""
        if self._relays is None:
            self._relays = [Relay(self._app, Outside(url)) for url in self._app.outboxes]
        return sum(relay.once() for relay in self._relays) > 0

    def close(self) -> None:
        for relay in self._relays or ():
            relay.outside.close()
        with closing(self._connection):
            self._hand_back()

    def _take_over_tasks(self) -> None:
        """As a worker when it starts; a test may declare one later."""
        if self._known != self._app.tasks.keys():
            self._known = frozenset(self._app.tasks)
            self._consumer.update_strategies()
            self._store.rules = declared_rules(self._app)

    def _consume(self, queues: Sequence[str]) -> None:
        for gone in self._consumed.difference(queues):
            self._channel.basic_cancel(gone)
        for new in sorted(set(queues) - self._consumed):
            self._channel.basic_consume(new, False, self._handle, new)
        self._consumed = set(queues)

    def _run(self, request: Any) -> None:
        """As a worker hands a task to its pool."""
        pool = self._consumer.pool
        try:
            request.execute_using_pool(pool)
        except TaskRevokedError:
            return
        if not request.task.durable:
            failed, returned, _ = pool.returned
            error = returned.exception if failed else None
            if not failed and returned == Outcome.REVOKED.value:  # what a task returns is shown with its quotes
                error = TaskRevokedError(returned)
            self._unmanaged(request, error.exc if isinstance(error, ExceptionWithTraceback) else error)

    def _hand_back(self) -> None:
        """What something other than the task has ended waits again."""
        qos, keeper = self._channel.qos, self._app.keeper
        for lease in list(qos.outstanding):
            qos.forget(lease)
            keeper.drop(lease)
            self._store.release([lease])
