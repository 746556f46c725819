"""Why RabbitMQ gave up on a message: it writes that into the message's headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_EXPIRED = "expired"
_MEANINGS = {
    "rejected": "a worker could not take it: it knows no such task, or could not read the message",
    _EXPIRED: "its time in the queue was over before anybody took it",
    "delivery_limit": "it was delivered too often, and no worker finished it",
    "maxlen": "the queue was full",
}


class Death(NamedTuple):
    """The reason in RabbitMQ's word, and the queue that the message was in."""

    reason: str
    queue: str

    @property
    def expired(self) -> bool:
        return self.reason == _EXPIRED

    @property
    def text(self) -> str:
        """The reason in words."""
        return f"RabbitMQ gave up on it in queue {self.queue!r}: {_MEANINGS.get(self.reason, self.reason)}"


def death_of(headers: Mapping[str, Any]) -> Death:
    """The last one; what was delayed has ended in the queues of the delays before, and that is no death."""
    records = headers.get("x-death")
    last = records[0] if isinstance(records, (list, tuple)) and records else {}
    last = last if isinstance(last, Mapping) else {}
    return Death(str(last.get("reason", "unknown")), str(last.get("queue", "")))
