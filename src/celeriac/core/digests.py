"""A digest of a call's arguments that is the same for the same values, in whatever way they were passed.

Values are brought to the plain form that Celery's JSON gives them, so a digest does not change on the way through a
broker either: a tuple counts as the list it arrives as, a key of a mapping as text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from typing import Any
from uuid import UUID

_MOST_LEVELS = 100

#: What an object stands for where the serializer knows its type and we do not; raises TypeError otherwise.
Encode = Callable[[Any], object]


def digest_of(arguments: Mapping[str, Any], encode: Encode | None = None) -> str:
    """32 hexadecimal digits for the arguments by name, defaults included.

    Raises for values that have no stable form: TypeError for an open file, ValueError for a list inside itself, and
    whatever an object's own `__reduce__` or `__json__` raises.
    """
    plain = _plain(arguments, encode, 0)
    return short_hash(json.dumps(plain, sort_keys=True, separators=(",", ":")))


def short_hash(text: str) -> str:
    """32 hexadecimal digits of BLAKE2b."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _plain(value: Any, encode: Encode | None, level: int) -> object:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if level > _MOST_LEVELS:
        raise ValueError(f"more than {_MOST_LEVELS} levels deep, or inside itself")
    if isinstance(value, Mapping):
        return {_key(key): _plain(item, encode, level + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, encode, level + 1) for item in value]
    return _scalar(value) or _plain(_reduced(value, encode, level), encode, level + 1)


def _key(key: object) -> str:
    """As JSON writes the keys of a mapping."""
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, (int, float)):
        return json.dumps(key)
    raise TypeError(f"a mapping with a key of type {type(key).__name__}")


def _scalar(value: Any) -> dict[str, str] | None:
    """A value type as its text, marked so that it is not that of a text."""
    if isinstance(value, (datetime, date, time)):
        return _marked("time", value.isoformat())
    if isinstance(value, UUID):
        return _marked("uuid", value.hex)
    if isinstance(value, Decimal):
        return _marked("decimal", str(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _marked("bytes", base64.b64encode(value).decode())
    return None


def _marked(kind: str, text: str) -> dict[str, str]:
    return {"__type__": kind, "__value__": text}


def _reduced(value: Any, encode: Encode | None, level: int) -> object:
    """The object as simpler parts, of which the digest is made."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        # Their order differs from process to process.
        return sorted(json.dumps(_plain(item, encode, level + 1), sort_keys=True) for item in value)
    if hasattr(type(value), "__json__"):
        return value.__json__()
    if hasattr(type(value), "model_dump"):
        return value.model_dump(mode="json")
    return _encoded(value, encode)


def _encoded(value: Any, encode: Encode | None) -> object:
    try:
        return encode(value) if encode is not None else _pickled(value)
    except TypeError:
        return _pickled(value)


def _pickled(value: Any) -> object:
    """What pickle would take apart, for objects under the pickle serializer. Names stand for classes and functions."""
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    parts = value.__reduce_ex__(4)
    if isinstance(parts, str):
        return parts
    return [*parts[:3], *(list(items) for items in parts[3:5] if items is not None)]
