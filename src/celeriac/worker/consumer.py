"""The consumer: what it cannot take becomes a dead letter."""

from __future__ import annotations

from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

from celeriac.transport.channel import Channel


class Consumer(CeleryConsumer):  # type: ignore[misc]  # Celery has no types
    """Celery's consumer, which would drop unknown and acknowledge undecodable messages."""

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._bury(message, "unknown-task", exc)
        super().on_unknown_task(body, message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._bury(message, "undecodable", exc)
        super().on_decode_error(message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._bury(message, "invalid", exc)
        super().on_invalid_task(body, message, exc)

    def _bury(self, message: Any, reason: str, exc: Exception) -> None:
        if isinstance(message.channel, Channel):
            message.channel.bury(message.delivery_tag, reason, exc)
