"""kombu's consumer, whose messages say from which queue they came."""

from __future__ import annotations

from functools import partial
from typing import Any

import kombu

#: In a delivery's facts: the queue it came from. What it was published with may name an exchange instead.
QUEUE = "celeriac_queue"


class NamingConsumer(kombu.Consumer):  # type: ignore[misc]  # kombu's class is untyped at runtime
    """Names the queue in each message, except where an exchange gives a copy to everybody."""

    def _basic_consume(self, queue: Any, *args: Any, **kwargs: Any) -> Any:
        if queue.exchange is not None and queue.exchange.type == "fanout":
            return super()._basic_consume(queue, *args, **kwargs)
        self._receive_callback = partial(self._receive_from, queue.name)
        try:
            return super()._basic_consume(queue, *args, **kwargs)
        finally:
            del self._receive_callback

    def _receive_from(self, queue: str, message: Any) -> Any:
        message.delivery_info[QUEUE] = queue
        return kombu.Consumer._receive_callback(self, message)  # noqa: SLF001  # what it would have called itself
