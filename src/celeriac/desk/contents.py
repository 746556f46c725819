"""What a dead letter's message says, read without running anything of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from kombu.compression import decompress
from kombu.serialization import loads

from celeriac.core.attempt import DeadLetter
from celeriac.core.message import DELIVERY_HEADER, KEY_HEADER

#: What is decoded to be looked at. Pickle runs code, so it stays closed.
READABLE = frozenset({"application/json", "application/x-yaml", "application/x-msgpack"})


@dataclass(slots=True, frozen=True)
class Contents:
    """What a dead letter's message says.

    ``args`` and ``kwargs`` are None where the body was not decoded, and
    ``unread`` says why. The canvas lists hold signatures as dictionaries, in
    the order in which they would run.
    """

    headers: dict[str, Any]
    properties: dict[str, Any]
    content_type: str
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    unread: str | None = None
    callbacks: list[Any] = field(default_factory=list)
    errbacks: list[Any] = field(default_factory=list)
    chain: list[Any] = field(default_factory=list)
    chord: dict[str, Any] | None = None

    @property
    def key(self) -> str | None:
        """The idempotency key it was published under."""
        key = self.headers.get(KEY_HEADER)
        return key.get("key") if isinstance(key, dict) else None

    @property
    def joins(self) -> str | None:
        """The id of the chord whose body waits for this task, or for the chain that goes on with it."""
        if self.chord:
            return self.headers.get("group")
        options = [step.get("options") or {} for step in self.chain if isinstance(step, dict)]
        found = [one.get("group_id") for one in options if one.get("chord")]
        return found[-1] if found else None


def contents(letter: DeadLetter) -> Contents:
    """Read the message; whatever cannot be read is said, not raised."""
    return read_message(letter.envelope, letter.body)


def read_message(envelope: str, body: str | bytes) -> Contents:
    """The same of a message that a store has."""
    headers, properties, content_type, encoding = json.loads(envelope)
    headers.pop(DELIVERY_HEADER, None)
    if content_type not in READABLE:
        return Contents(
            headers, properties, content_type, unread=f"{content_type} is not decoded, since that could run code"
        )
    try:
        parts = _fields(decoded(body, headers.get("compression"), content_type, encoding))
    except Exception as error:  # noqa: BLE001  # whatever a decoder makes of a damaged body
        return Contents(headers, properties, content_type, unread=f"{content_type} could not be decoded: {error}")
    return Contents(headers, properties, content_type, **parts)


def decoded(body: str | bytes, compression: str | None, content_type: str, encoding: str) -> Any:
    """A body of a kind that is safe to decode."""
    data = decompress(body, compression) if compression else body
    return loads(data, content_type, encoding, accept=READABLE)


def _fields(found: Any) -> dict[str, Any]:
    if isinstance(found, dict):  # Celery's first protocol
        args, kwargs, embed = found["args"], found["kwargs"], found
    else:
        args, kwargs, embed = found
    return {
        "args": list(args),
        "kwargs": dict(kwargs),
        "callbacks": embed.get("callbacks") or [],
        "errbacks": embed.get("errbacks") or [],
        # Celery takes a chain's next step from the end.
        "chain": list(reversed(embed.get("chain") or [])),
        "chord": embed.get("chord"),
    }
