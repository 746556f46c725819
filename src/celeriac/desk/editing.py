"""Arguments changed before a dead letter is sent again: checked as a call of the task would be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from celery.utils.saferepr import saferepr
from kombu.compression import compress
from kombu.serialization import dumps, registry

from celeriac.core.attempt import DeadLetter
from celeriac.core.message import KEY_HEADER, LIMITS_HEADER, TaskMessage
from celeriac.core.text import writable
from celeriac.desk.contents import contents, decoded
from celeriac.desk.signatures import positional
from celeriac.errors import ArgumentError, DeadLetterError
from celeriac.publish.arguments import check_arguments
from celeriac.publish.keys import with_key
from celeriac.publish.limits import limits_again
from celeriac.transport.envelope import pack, task_columns

#: Characters of a value that the log keeps.
_LOGGED = 80


class EditRefused(DeadLetterError):
    """The arguments of dead letter ``letter_id`` cannot be changed so; nothing was sent, and it is as it was."""

    def __init__(self, task: str, letter_id: int, problem: str) -> None:
        super().__init__(task, letter_id, problem)
        self.task, self.letter_id, self.problem = task, letter_id, problem

    def __str__(self) -> str:
        return (
            f"task {self.task}: the arguments of dead letter {self.letter_id} are not changed, and it is not redriven: "
            f"{self.problem}"
        )


@dataclass(frozen=True)
class Edit:
    """New arguments: all positional ones, keywords beside or instead of those there are, single ones by name.

    ``kwargs`` replaces all keywords; ``values`` sets parameters by their name, whichever way they were passed.
    """

    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nothing(self) -> bool:
        """It changes nothing."""
        return self.args is None and self.kwargs is None and not self.values

    def applied(self, app: Any, letter: DeadLetter, message: TaskMessage) -> tuple[TaskMessage, str]:
        """The message with these arguments, and what was changed, for the log.

        Raises:
            EditRefused: the body cannot be read, the app does not know the task, or this is no call of it.
        """
        said = contents(letter)
        if said.args is None or said.kwargs is None:
            raise self._refused(letter, f"its body stays closed ({said.unread})")
        args, kwargs = self._new(app, letter, said.args, said.kwargs)
        self._check(app, letter, said.content_type, args, kwargs)
        told = _difference(positional(app, letter.name), (said.args, said.kwargs), (args, kwargs))
        return self._written(app, letter, message, args, kwargs), told

    def _new(
        self, app: Any, letter: DeadLetter, old_args: Sequence[Any], old_kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        args = list(old_args if self.args is None else self.args)
        kwargs = dict(old_kwargs if self.kwargs is None else self.kwargs)
        names = positional(app, letter.name)[: len(args)]
        for name, value in self.values.items():
            if name in names:
                args[names.index(name)] = value
            else:
                kwargs[name] = value
        return args, kwargs

    def _check(self, app: Any, letter: DeadLetter, content_type: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        task = app.tasks.get(letter.name)
        if task is None:
            raise self._refused(
                letter,
                "this app does not know the task, so nobody can say what it takes. Name the app that has it with -A, or "
                "import its module (include=)",
            )
        try:
            if getattr(task, "typing", True):
                task.__header__(*args, **kwargs)
            names, serializer = positional(app, letter.name), serializer_of(content_type)
            check_arguments(task.name, args, kwargs, parameters=names, serializer=serializer)
        except (TypeError, ArgumentError) as error:
            raise self._refused(letter, f"{error}") from error

    def _written(
        self, app: Any, letter: DeadLetter, message: TaskMessage, args: list[Any], kwargs: dict[str, Any]
    ) -> TaskMessage:
        headers, properties, content_type, encoding = json.loads(message.envelope)
        compression = headers.get("compression")
        whole = decoded(letter.body, compression, content_type, encoding)
        first = isinstance(whole, dict)  # Celery's first protocol
        whole = {**whole, "args": args, "kwargs": kwargs} if first else [args, kwargs, whole[2]]
        content_type, encoding, body = dumps(whole, serializer_of(content_type))
        if compression:
            body = compress(body, compression)[0]
        shown = app.amqp
        headers["argsrepr"] = saferepr(args, shown.argsrepr_maxsize)
        headers["kwargsrepr"] = saferepr(kwargs, shown.kwargsrepr_maxsize)
        self._rebind(app, letter, headers, args, kwargs)
        envelope = pack(headers, properties, content_type, encoding)
        return replace(message, body=body, envelope=envelope, **task_columns(headers))

    def _rebind(
        self, app: Any, letter: DeadLetter, headers: dict[str, Any], args: list[Any], kwargs: dict[str, Any]
    ) -> None:
        """The key and the limits are of the arguments, where the task makes them of these."""
        task, old = app.tasks[letter.name], headers.get(KEY_HEADER)
        try:
            made = with_key(task, args, kwargs, {}, old["ttl"]) if old else {}
            bound = limits_again(app, task, letter.queue, args, kwargs) if headers.get(LIMITS_HEADER) else {}
        except ArgumentError as error:
            raise self._refused(letter, f"{error}") from error
        key = made.get("headers", {}).get(KEY_HEADER)
        if old and key is not None:
            headers[KEY_HEADER] = {**old, "key": key["key"], "digest": key["digest"]}
        headers.update(bound)

    @staticmethod
    def _refused(letter: DeadLetter, problem: str) -> EditRefused:
        return EditRefused(letter.name or "?", letter.id, problem)


def serializer_of(content_type: str) -> str:
    """The name of the serializer that makes such bodies."""
    return str(registry.type_to_name[content_type])


def _difference(
    names: Sequence[str],
    old: tuple[Sequence[Any], Mapping[str, Any]],
    new: tuple[Sequence[Any], Mapping[str, Any]],
) -> str:
    """``order_id 7 → 8``, for each argument that is another one now."""
    before, after = ({**_by_place(names, args), **kwargs} for args, kwargs in (old, new))
    changed = [
        name for name in dict.fromkeys([*before, *after]) if before.get(name, _ABSENT) != after.get(name, _ABSENT)
    ]
    return ", ".join(f"{name} {_short(before, name)} → {_short(after, name)}" for name in changed)


_ABSENT = object()


def _by_place(names: Sequence[str], args: Sequence[Any]) -> dict[str, Any]:
    return {names[place] if place < len(names) else f"args[{place}]": value for place, value in enumerate(args)}


def _short(values: Mapping[str, Any], name: str) -> str:
    return writable(saferepr(values[name], _LOGGED)) if name in values else "unset"
