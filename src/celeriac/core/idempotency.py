"""The idempotency key of a call: a template or a function, checked where the task is declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from inspect import Signature
from typing import Any

from celeriac.core.digests import Encode, digest_of
from celeriac.core.templates import ArgumentTemplate, KeyFunction, Origin, bind
from celeriac.errors import ArgumentError, OptionError


class KeyTemplate(ArgumentTemplate):
    """What makes the idempotency key of each call of one task; see `ArgumentTemplate`."""

    def __init__(self, task: str, template: str | KeyFunction, signature: Signature) -> None:
        super().__init__(Origin(task, "idempotency_key", "the idempotency key"), template, signature)


def time_to_live(task: str, given: object) -> float | None:
    """A task's `idempotency_ttl` in seconds; None leaves it to the app. Raises `OptionError`."""
    if given is None:
        return None
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
        problem = (
            f"{given!r} is no number of seconds, from 0; or give a timedelta, or None for celeriac_idempotency_ttl"
        )
        raise OptionError(task, "idempotency_ttl", problem)
    return float(seconds)


def arguments_digest(
    task: str, signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any], encode: Encode | None = None
) -> str:
    """32 hexadecimal digits that are the same for `f(1)` and `f(order_id=1)`, defaults included.

    `encode` turns an object only the serializer knows into plainer data, or raises TypeError. Raises `ArgumentError`.
    """
    bound = bind(task, signature, args, kwargs)
    try:
        return digest_of(bound.arguments, encode)
    except Exception as error:  # an argument's own code can raise anything
        raise ArgumentError(task, "(all)", f"no digest can be made for the idempotency key: {error}") from error
