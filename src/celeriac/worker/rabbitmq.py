"""The consumer on RabbitMQ: what it cannot take goes to the dead letters of the broker."""

from __future__ import annotations

from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer


class Consumer(CeleryConsumer):  # type: ignore[misc]  # Celery has no types
    """Celery's consumer, which rejects what is unknown or invalid, and acknowledges what it cannot read."""

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        message.ack = message.reject
        super().on_decode_error(message, exc)
