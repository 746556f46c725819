"""The queues that nobody declares: Celery makes them up from a name."""

from __future__ import annotations

from typing import Any

from celery.app import amqp

from celeriac.transport.rabbitmq.queues import task_queue


class Queues(amqp.Queues):  # type: ignore[misc]  # Celery has no types
    """Celery's, where RabbitMQ's are of celeriac's kind unless the user says of which."""

    #: Set by the app: whether they are.
    ours = False

    def new_missing(self, name: str) -> Any:
        if not self.ours or self.create_missing_queue_type != "quorum" or self.create_missing_queue_exchange_type:
            return super().new_missing(name)
        return task_queue(name, self.default_exchange)

    def add_compat(self, name: str, **options: Any) -> Any:
        """As Celery's. The remote control's `add_consumer` asks for a direct exchange of the queue's own."""
        made_up = options.get("exchange") == name and options.get("routing_key") is None
        return self._add(self.new_missing(name)) if self.ours and made_up else super().add_compat(name, **options)
