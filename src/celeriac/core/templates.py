"""Text made of a call's arguments, by a template or a function that is checked where the task is declared."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from inspect import BoundArguments, Parameter, Signature
from itertools import pairwise
from string import Formatter
from typing import Any, NamedTuple
from uuid import UUID

from celeriac.core.digests import short_hash
from celeriac.errors import ArgumentError, OptionError, QueueOptionError

#: What is made is an index entry in every store; what is longer keeps this much to be read, and a hash of the whole.
MOST_CHARACTERS = 512
_READABLE = MOST_CHARACTERS - 33

KeyFunction = Callable[..., object]


class Origin(NamedTuple):
    """Whose template it is, a task's or a queue's: errors name it."""

    task: str
    option: str
    #: What is made, in a sentence.
    what: str = ""
    #: Where it is a queue's; its calls are those of a task.
    queue: str | None = None

    def wrong(self, problem: str) -> OptionError | QueueOptionError:
        """The error of a declaration that cannot work."""
        if self.queue is not None:
            about = f"for task {self.task}, which goes there: {problem}" if self.task else problem
            return QueueOptionError(self.queue, self.option, about)
        return OptionError(self.task, self.option, problem)

    def unusable(self, argument: str, problem: str) -> ArgumentError:
        """The error of a call of which nothing can be made."""
        return ArgumentError(self.task, argument, problem)


class ArgumentTemplate:
    """Makes a text of each call of one task.

    `template` is text such as `"charge:{order_id}"`, whose fields are names of the task's parameters, or a function
    that is called with those bound and defaulted arguments that its own parameters name. `signature` is the task's,
    without `self`. Raises `OptionError` for a template that cannot work, so that this is told where the task is
    declared.
    """

    def __init__(self, origin: Origin, template: str | KeyFunction, signature: Signature) -> None:
        self.origin = origin
        self.signature = signature
        self._make = _compiled(origin, template, signature)

    def render(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """The text of this call, at most 512 characters.

        Raises `ArgumentError` naming the argument no text can be made of.
        """
        return self.of(bind(self.origin.task, self.signature, args, kwargs).arguments)

    def of(self, arguments: Mapping[str, Any]) -> str:
        """As `render`, of arguments that are bound already."""
        key = self._make(arguments)
        if not key.isascii():
            try:
                key.encode()
            except UnicodeEncodeError as error:
                problem = f"the key {key!r} has half a character ({error.reason}), which no store keeps"
                raise self.origin.unusable(self.origin.option, problem) from error
        return _shortened(key)


def bind(task: str, signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> BoundArguments:
    """The call's arguments by name, defaults included. Raises `ArgumentError`."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentError(task, "(all)", f"the call does not fit the signature {signature}: {error}") from error
    bound.apply_defaults()
    return bound


def _shortened(key: str) -> str:
    return key if len(key) <= MOST_CHARACTERS else f"{key[:_READABLE]}#{short_hash(key)}"


# --- At declaration ----------------------------------------------------------

_Maker = Callable[[Mapping[str, Any]], str]


def _compiled(origin: Origin, template: str | KeyFunction, signature: Signature) -> _Maker:
    if isinstance(template, str):
        return _Template(origin, template, signature)
    if callable(template):
        return _Function(origin, template, signature)
    raise origin.wrong(f"{template!r} is neither a template such as 'charge:{{order_id}}' nor a function")


#: Text, then the name of the field after it; the last name is None where the template ends in text.
_Parts = list[tuple[str, str | None]]


class _Template:
    def __init__(self, origin: Origin, template: str, signature: Signature) -> None:
        self.origin = origin
        self.parts = _parse(origin, template)
        for _, name in self.parts:
            if name is not None:
                _check_name(origin, template, name, signature)
        self.escaped = _separators(origin, template, self.parts)

    def __call__(self, arguments: Mapping[str, Any]) -> str:
        return "".join(
            literal + (self._text(name, arguments[name]) if name is not None else "") for literal, name in self.parts
        )

    def _text(self, name: str, value: object) -> str:
        text = _key_text(self.origin, name, value)
        # Only free text can hold a separator by chance; a date keeps its dashes.
        return text.translate(self.escaped) if isinstance(value, str) else text


def _parse(origin: Origin, template: str) -> _Parts:
    if not template.strip():
        raise origin.wrong("the template is empty; leave the option away for a task without a key")
    try:
        fields = list(Formatter().parse(template))
    except ValueError as error:
        raise origin.wrong(f"template {template!r}: {error}") from error
    parts: _Parts = [("", None)]
    for literal, name, spec, conversion in fields:
        if spec or conversion:
            shown = f"{name}{f'!{conversion}' if conversion else ''}{f':{spec}' if spec else ''}"
            raise origin.wrong(f"template {template!r}, field {{{shown}}}: {_ONLY_NAMES}")
        # An escaped brace ends a text without a field.
        before, _ = parts.pop()
        parts += [(before + literal, name)] if name is None else [(before + literal, name), ("", None)]
    return parts


_ONLY_NAMES = "a field is the plain name of a parameter; for anything more, give a function of the arguments"


def _check_name(origin: Origin, template: str, name: str, signature: Signature) -> None:
    problem = _name_problem(name, signature.parameters)
    if problem:
        raise origin.wrong(f"template {template!r}, field {{{name}}}: {problem}")


def _name_problem(name: str, parameters: Mapping[str, Parameter]) -> str | None:
    if not name.isidentifier():
        return _ONLY_NAMES
    parameter = parameters.get(name)
    if parameter is None:
        close = get_close_matches(name, parameters, 1)
        hint = f"; did you mean {{{close[0]}}}?" if close else f"; it has: {', '.join(parameters) or 'none'}"
        return f"the task has no parameter of that name (what falls into ** has none){hint}"
    if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
        return f"{parameter} takes any number of values, which make no readable key; give a function of the arguments"
    return None


def _separators(origin: Origin, template: str, parts: _Parts) -> dict[int, str]:
    """What may not be found bare in a text value, lest "a:b" and "c" make the key of "a" and "b:c"."""
    marks = {"%"}
    for (_, before), (literal, name) in pairwise(part for part in parts if part[1] is not None):
        found = [
            character for character in literal if character.isascii() and not (character.isalnum() or character == "%")
        ]
        if not found:
            problem = f"nothing parts {{{before}}} from {{{name}}}, so different arguments would make one key"
            raise origin.wrong(f"template {template!r}: {problem}; put a ':' between them")
        marks.add(found[0])
    return {ord(mark): f"%{ord(mark):02X}" for mark in marks} if len(marks) > 1 else {}


class _Function:
    def __init__(self, origin: Origin, function: KeyFunction, signature: Signature) -> None:
        self.origin = origin
        self.function = function
        self.names = _wanted(origin, function, signature)

    def __call__(self, arguments: Mapping[str, Any]) -> str:
        try:
            key = self.function(**{name: arguments[name] for name in self.names})
        except Exception as error:
            problem = f"the function {_shown(self.function)} raised {type(error).__name__}: {error}"
            raise self.origin.unusable(self.origin.option, problem) from error
        if not isinstance(key, str) or not key.strip():
            problem = f"the function {_shown(self.function)} returned {key!r}; a key is a text that is not empty"
            raise self.origin.unusable(self.origin.option, problem)
        return str.__str__(key)


def _wanted(origin: Origin, function: KeyFunction, signature: Signature) -> list[str]:
    """The names of the task's parameters that the function takes."""
    own = _parameters(origin, function)
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in own):
        return list(signature.parameters)
    for parameter in own:
        required = parameter.default is Parameter.empty and parameter.kind is not Parameter.VAR_POSITIONAL
        if required and parameter.name not in signature.parameters:
            names = ", ".join(signature.parameters) or "none"
            problem = f"it wants {parameter.name!r}, which is no parameter of the task; those are: {names}"
            raise origin.wrong(f"function {_shown(function)}: {problem}")
    return [parameter.name for parameter in own if parameter.name in signature.parameters]


def _parameters(origin: Origin, function: KeyFunction) -> list[Parameter]:
    if inspect.iscoroutinefunction(function):
        raise origin.wrong(f"function {_shown(function)}: it is async, and a key is needed before sending")
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        problem = f"function {_shown(function)}: its signature cannot be read; wrap it in a lambda"
        raise origin.wrong(problem) from error
    for parameter in parameters:
        if parameter.kind is Parameter.POSITIONAL_ONLY:
            problem = f"{parameter.name!r} is positional-only, and arguments are given by name"
            raise origin.wrong(f"function {_shown(function)}: {problem}")
    return parameters


def _shown(function: object) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


# --- At each call ------------------------------------------------------------


def _key_text(origin: Origin, name: str, value: object) -> str:
    """The value as text that is the same in every process, on both sides of a broker."""
    if isinstance(value, Enum):
        value = value.value
    text = _plain_text(value)
    if text is None:
        problem = f"a {type(value).__name__} makes no stable text for {origin.what}; give a function of the arguments"
        raise origin.unusable(name, problem)
    if not text.strip():
        problem = f"it is {value!r}, so different calls would share {origin.what}; give it a value, or use another"
        raise origin.unusable(name, problem)
    return text


def _plain_text(value: object) -> str | None:
    if value is None:
        return ""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return str(value) if isinstance(value, (int, float, Decimal, UUID)) else None
