"""Arguments are looked at before they are sent: what a message cannot carry is refused with what to pass instead."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from kombu.exceptions import EncodeError
from kombu.serialization import dumps

from celeriac.errors import ArgumentError, CeleriacWarning
from celeriac.publish.unsendable import Remedy, beyond_any_serializer, beyond_json, type_name

#: Types of which an exact match needs no further look: those of JSON, and those Celery's JSON adds.
_PLAIN = frozenset({str, int, float, bool, type(None), bytes, datetime, date, time, Decimal, UUID})
_JSON_KEYS = (str, int, float, bool, type(None))
_LONGEST_KEY = 40


class UnsendableArgument(ArgumentError, EncodeError):  # type: ignore[misc]  # kombu is Any
    """An argument that cannot be sent, or should not be: `except EncodeError` catches it as it catches Celery's own."""


class UnsendableArgumentWarning(CeleriacWarning):
    """The same, where it was asked only to warn."""


def check_arguments(
    task: str,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    *,
    parameters: Sequence[str] = (),
    serializer: str | None = "json",
    refuse: bool = True,
) -> None:
    """Refuse what cannot be sent, before anything has looked at it, so that no lazy object is loaded.

    `parameters` are the names of the task's positional parameters, for the message. Under a `serializer` other than
    JSON, which may carry anything, only what belongs to this process or would be stale is refused; there `refuse=False`
    warns instead. Raises `UnsendableArgument` naming the argument.
    """
    search = _Search(strict=serializer in (None, "json"))
    try:
        found = search.among(_named(args or (), parameters)) or search.among((kwargs or {}).items())
    except RecursionError:
        found = _Found([], Remedy("nested too deeply, or contains itself", "a flat structure, or an id to load it by"))
    if found is None:
        return
    error = UnsendableArgument(task, found.argument, found.problem)
    if refuse or search.strict:
        raise error
    warnings.warn(str(error), UnsendableArgumentWarning, stacklevel=2)


def _named(args: Sequence[Any], parameters: Sequence[str]) -> Iterable[tuple[str, Any]]:
    known = len(parameters)
    return ((parameters[place] if place < known else f"args[{place}]", value) for place, value in enumerate(args))


class _Found:
    """What was found, and the way to it, innermost first."""

    def __init__(self, path: list[object], remedy: Remedy) -> None:
        self.path = path
        self.remedy = remedy

    @property
    def argument(self) -> str:
        if not self.path:
            return "(all)"
        name, *inner = reversed(self.path)
        return f"{name}{''.join(f'[{_shown(key)}]' for key in inner)}"

    @property
    def problem(self) -> str:
        return f"it is {self.remedy.what}. Pass {self.remedy.pass_.format(self.argument)}"


def _shown(key: object) -> str:
    text = repr(key) if type(key) in _PLAIN else f"<{type_name(key)}>"
    return text if len(text) <= _LONGEST_KEY else f"{text[:_LONGEST_KEY]}…"


class _Search:
    def __init__(self, *, strict: bool) -> None:
        self.strict = strict

    def among(self, items: Iterable[tuple[object, Any]]) -> _Found | None:
        for key, value in items:
            if type(value) in _PLAIN:
                continue
            found = self.inside(value)
            if found is not None:
                found.path.append(key)
                return found
        return None

    def inside(self, value: Any) -> _Found | None:
        if isinstance(value, dict):
            return self._bad_key(value) or self.among(value.items())
        if isinstance(value, (list, tuple)):
            return self.among(enumerate(value))
        remedy = beyond_any_serializer(value)
        if remedy is None and self.strict:
            remedy = self._beyond_json(value)
        return None if remedy is None else _Found([], remedy)

    def _bad_key(self, value: dict[Any, Any]) -> _Found | None:
        if not self.strict:
            return None
        for key in value:
            if type(key) is not str and not isinstance(key, _JSON_KEYS):
                remedy = Remedy(f"a mapping with a key of type {type_name(key)}", "text or numbers as its keys")
                return _Found([], remedy)
        return None

    @staticmethod
    def _beyond_json(value: Any) -> Remedy | None:
        try:
            dumps(value, "json")  # the serializer knows best what was taught to it
        except RecursionError:
            raise
        except EncodeError as error:
            return beyond_json(value) if not hasattr(type(value), "__json__") else _broken(value, error)
        return None


def _broken(value: Any, error: Exception) -> Remedy:
    return Remedy(f"an object of type {type_name(value)} whose __json__ failed ({error})", "plain data made from it")
