"""What Celery would give a broker that is no store, kept to be given to it later."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from kombu.compression import compress
from kombu.serialization import dumps

from celeriac.core.message import TaskMessage
from celeriac.store.protocols import Publisher
from celeriac.transport.envelope import clamp_priority, pack, task_columns

#: Seconds in which a broker confirms a message.
PATIENCE = 10.0


class Recorder:
    """Stands where Celery hands a kombu producer through."""

    serializer: str | None = None
    #: It leads to no broker that could confirm anything.
    transport_options: ClassVar[dict[str, Any]] = {}

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

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
        content_type, encoding, data = dumps(body, serializer)
        if compression:
            data, headers["compression"] = compress(data, compression)
        kept = ("correlation_id", "reply_to", "expiration", "priority", "delivery_mode")
        properties = {name: options[name] for name in kept if options.get(name) is not None}
        name = getattr(exchange, "name", exchange) or ""
        properties["delivery_info"] = {"exchange": name, "routing_key": routing_key or ""}
        queue = str(getattr(declare[0], "name", "") if declare else routing_key or "")
        message = TaskMessage(
            queue,
            pack(headers, properties, content_type, encoding),
            data,
            priority=clamp_priority(properties.get("priority")),
            **task_columns(headers),
        )
        self._publisher.publish([message])


def send_recorded(app: Any, producer: Any, message: TaskMessage) -> None:
    """Give the broker what was kept; it has it when this returns, where it can say so.

    Raises:
        kombu.exceptions.OperationalError: the broker does not answer.
    """
    headers, properties, content_type, encoding = json.loads(message.envelope)
    target = properties.pop("delivery_info", {})
    exchange = target.get("exchange") or ""
    known = app.amqp.queues
    declare = [known[message.queue]] if message.queue and (known.create_missing or message.queue in known) else []
    producer.publish(
        message.body,
        exchange=exchange,
        routing_key=target.get("routing_key") or message.queue,
        declare=declare,
        content_type=content_type,
        content_encoding=encoding,
        headers=headers,
        retry=False,
        mandatory=True,  # what no queue gets comes back, and is kept
        timeout=PATIENCE,
        confirm_timeout=PATIENCE,
        **properties,
    )
