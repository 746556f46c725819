"""What Celery would give a broker that is no store, kept to be given to it later."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from typing import Any, ClassVar

from celeriac.core.message import WORKFLOW_HEADER
from celeriac.publish.serialising import serialised
from celeriac.publish.workflows import membership, take_along, taken_along
from celeriac.store.protocols import Publisher


class Recorder:
    """Stands where Celery hands a kombu producer through."""

    serializer: str | None = None
    #: It leads to no broker that could confirm anything.
    transport_options: ClassVar[dict[str, Any]] = {}

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        #: Where it is known of which workflow the message is a part.
        self._context = copy_context()

    @property
    def connection(self) -> Recorder:
        """Celery asks the producer's connection to translate errors."""
        return self

    def _reraise_as_library_errors(self) -> AbstractContextManager[None]:
        return nullcontext()

    def publish(
        self,
        body: Any,
        *,
        exchange: Any = "",
        routing_key: str | None = None,
        headers: dict[str, Any] | None = None,
        serializer: str | None = None,
        compression: str | None = None,
        declare: Any = None,
        **options: Any,
    ) -> None:
        """Keep what kombu's producer of the same name would send."""
        headers = dict(headers or {})
        if "id" not in headers or "task" not in headers:
            return  # an event that the task was sent, which it was not yet
        kept = ("correlation_id", "reply_to", "expiration", "priority", "delivery_mode")
        properties = {name: options[name] for name in kept if options.get(name) is not None}
        name = getattr(exchange, "name", exchange) or ""
        properties["delivery_info"] = {"exchange": name, "routing_key": routing_key or ""}
        queue = str(getattr(declare[0], "name", "") if declare else routing_key or "")
        self._context.run(self._keep, queue, body, headers, properties, serializer, compression)

    def _keep(self, queue: str, body: Any, headers: dict[str, Any], *how: Any) -> None:
        part = membership(str(headers["id"]))
        if part is not None:
            headers[WORKFLOW_HEADER] = part
        message = take_along(serialised(queue, body, headers, *how))
        self._publisher.publish([message])
        taken_along(message)
