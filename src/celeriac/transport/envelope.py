"""Between kombu's message dictionaries and what the store keeps."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from kombu.message import Message as KombuMessage
from kombu.serialization import registry
from kombu.utils.json import loads as kombu_loads

from celeriac.core.limits import as_written
from celeriac.core.message import (
    DELIVERY_HEADER,
    HIGHEST_PRIORITY,
    KEY_HEADER,
    LIMITS_HEADER,
    LOWEST_PRIORITY,
    Broadcast,
    Delivery,
    IdempotencyKey,
    Lease,
    TaskMessage,
)
from celeriac.core.text import writable

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=str).encode
_loads = json.JSONDecoder().decode
_JSON = "application/json"
#: What RabbitMQ adds to a message's headers on its way, and we.
_OF_A_DELIVERY = {DELIVERY_HEADER} | frozenset(
    f"x-{name}"
    for name in [
        "death",
        "first-death-exchange",
        "first-death-queue",
        "first-death-reason",
        "last-death-exchange",
        "last-death-queue",
        "last-death-reason",
        "delivery-count",
        "acquired-count",
    ]
)
#: Properties that belong to the task's message, and not to one delivery of it.
_PROPERTIES = ("correlation_id", "reply_to", "priority")


def pack(headers: dict[str, Any], properties: dict[str, Any], content_type: str, encoding: str) -> str:
    """The envelope text; half a character in it becomes JSON's escape for one."""
    text = _dumps([headers, properties, content_type, encoding])
    return text if text.isascii() else writable(text)


def to_task_message(queue: str, message: dict[str, Any]) -> TaskMessage:
    """A prepared kombu message on its way to ``queue``."""
    headers, properties = message["headers"], message["properties"]
    return TaskMessage(
        queue=queue,
        envelope=pack(headers, properties, message["content-type"], message["content-encoding"]),
        body=message["body"],
        priority=clamp_priority(properties.get("priority")),
        **task_columns(headers),
    )


def task_columns(headers: dict[str, Any]) -> dict[str, Any]:
    """The columns that a task's headers fill; nothing for other messages."""
    task_id, name = headers.get("id"), headers.get("task")
    if not task_id or not name:
        return {}
    key = headers.get(KEY_HEADER)
    return {
        "task_id": task_id,
        "name": name,
        "run_at": epoch(headers.get("eta")),
        "expires_at": epoch(headers.get("expires")),
        "key": key and IdempotencyKey(name, key["key"], key["digest"], key["ttl"]),
        "awaited": bool(key and key.get("awaited")),
        "limits": as_written(headers.get(LIMITS_HEADER)),
    }


def clamp_priority(priority: Any) -> int:
    """A priority from 0 to 9; the higher number goes first."""
    if priority is None:
        return LOWEST_PRIORITY
    return max(LOWEST_PRIORITY, min(int(priority), HIGHEST_PRIORITY))


def epoch(moment: Any) -> float | None:
    """Seconds since the epoch of an ISO 8601 text; naive times are UTC."""
    if not moment:
        return None
    parsed = moment if isinstance(moment, datetime) else _parse(str(moment))
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=timezone.utc)
    return parsed.timestamp()


def _parse(text: str) -> datetime:
    # fromisoformat() knows the Z suffix from Python 3.11 on.
    return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)


class Message(KombuMessage):  # type: ignore[misc]  # kombu's class is untyped at runtime
    """A delivered message.

    Its delivery tag is the lease, so that a second delivery of a row is told
    from the first.
    """

    def _decode(self) -> Any:
        """As kombu's; JSON in which nothing stands for a Python type takes no hook of kombu's at every object."""
        body = self.body
        plain = isinstance(body, str) and self.content_type == _JSON and "__type__" not in body
        if plain and (self.accept is None or _JSON in self.accept) and registry._decoders.get(_JSON) is kombu_loads:  # noqa: SLF001
            with suppress(ValueError):  # kombu's own says what is wrong
                return _loads(body)
        return super()._decode()


def to_message(delivery: Delivery, channel: Any) -> Message:
    """A claimed message as kombu hands it to consumers."""
    headers, properties, content_type, encoding = _loads(delivery.envelope)
    info = properties.get("delivery_info") or {}
    info["redelivered"] = delivery.lease.token > 1
    info["priority"] = delivery.priority
    if "task" in headers:
        headers[DELIVERY_HEADER] = delivery.header()
        # The store has held it until it was due; a worker would wait again.
        headers["eta"] = None
    return _message(headers, properties, content_type, encoding, delivery.body, info, delivery.lease, channel)


def foreign_message(queue: str, message: Any) -> TaskMessage:
    """A task message that another broker delivered from ``queue``, as the store keeps it."""
    headers = {name: value for name, value in message.headers.items() if name not in _OF_A_DELIVERY}
    if not message.errors:
        headers.pop("compression", None)  # kombu has taken the body apart
    known = message.properties or {}
    properties = {name: known[name] for name in _PROPERTIES if known.get(name) is not None}
    priority = clamp_priority(properties.get("priority"))
    properties["delivery_info"] = {"exchange": "", "routing_key": queue}
    return TaskMessage(
        queue,
        pack(headers, properties, message.content_type, message.content_encoding),
        _plain(message),
        priority=priority,
        **_foreign_columns(headers),
    )


def _plain(message: Any) -> str | bytes:
    """The body as a store of ours would have been given it."""
    body = message.body
    if isinstance(body, str):
        return body
    body = bytes(body or b"")
    if message.content_type == _JSON:
        with suppress(UnicodeDecodeError):  # whoever reads it says so
            return body.decode()
    return body


def _foreign_columns(headers: dict[str, Any]) -> dict[str, Any]:
    """What a client of another make wrote may be no date, or no key; whoever reads it to run it says so."""
    try:
        return task_columns(headers)
    except (ValueError, TypeError, KeyError, AttributeError):
        return {"task_id": headers["id"], "name": headers["task"]}


def broadcast_message(item: Broadcast, channel: Any) -> Message:
    """A broadcast as kombu hands it to consumers."""
    headers, properties, content_type, encoding = _loads(item.envelope)
    info = properties.get("delivery_info") or {}
    return _message(headers, properties, content_type, encoding, item.body, info, f"broadcast-{item.id}", channel)


def _message(
    headers: dict[str, Any],
    properties: dict[str, Any],
    content_type: str,
    encoding: str,
    body: str | bytes,
    info: dict[str, Any],
    tag: Lease | str,
    channel: Any,
) -> Message:
    return Message(
        body=body,
        delivery_tag=tag,
        content_type=content_type,
        content_encoding=encoding,
        delivery_info=info,
        properties=properties,
        headers=headers,
        postencode="utf-8",
        channel=channel,
    )
