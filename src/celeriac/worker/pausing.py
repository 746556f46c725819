"""Beside a broker that is no store: its workers do not consume what is paused, and begin again when it is resumed."""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from celery.worker.consumer.tasks import Tasks

from celeriac.core.pauses import names

#: Seconds between looks at what this worker knows of pauses.
EVERY = 1.0


class PausedQueues(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Cancels the consumers of paused queues. What their messages in this worker's hand become, admission says."""

    requires = (Tasks,)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        #: Those that this step has cancelled: only these it begins again.
        self._left: set[str] = set()
        self._timer: Any = None

    def include_if(self, consumer: Any) -> bool:
        return consumer.app.ledger_beside is not None

    def start(self, consumer: Any) -> None:
        self._change(consumer)
        self._timer = consumer.timer.call_repeatedly(EVERY, self._look, (consumer,))

    def stop(self, consumer: Any) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _look(self, consumer: Any) -> None:
        leave, return_to = self._changes(consumer)
        if leave or return_to:
            # The timer may have a thread of its own, and the connection is the loop's.
            consumer.call_soon(self._change, consumer)

    def _changes(self, consumer: Any) -> tuple[set[str], set[str]]:
        """The queues to consume no longer, and those to consume again."""
        paused = set(names(consumer.app.execution_room.pauses.paused, "queue"))
        consumed = set(consumer.app.amqp.queues.consume_from)
        return consumed & paused, self._left - paused

    def _change(self, consumer: Any) -> None:
        leave, return_to = self._changes(consumer)
        for queue in leave:
            # First: Celery forgets the queue, and then asks a broker whose connection may be lost over it.
            self._left.add(queue)
            consumer.cancel_task_queue(queue)
        for queue in return_to:
            self._left.discard(queue)
            consumer.add_task_queue(queue)
