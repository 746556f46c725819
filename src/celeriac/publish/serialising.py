"""A message of Celery's becomes a row: its body serialised, and compressed where that is asked for."""

from __future__ import annotations

from typing import Any

from kombu.compression import compress
from kombu.serialization import dumps

from celeriac.core.message import TaskMessage
from celeriac.transport.envelope import clamp_priority, pack, task_columns


def serialised(
    queue: str,
    body: Any,
    headers: dict[str, Any],
    properties: dict[str, Any],
    serializer: str | None,
    compression: str | None,
) -> TaskMessage:
    """The row; ``headers`` are told of the compression."""
    content_type, encoding, data = dumps(body, serializer)
    if compression:
        data, headers["compression"] = compress(data, compression)
    envelope = pack(headers, properties, content_type, encoding)
    priority = clamp_priority(properties.get("priority"))
    return TaskMessage(queue, envelope, data, priority=priority, **task_columns(headers))
