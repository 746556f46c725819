"""Which dead letters are meant: by number, by what the store knows of them, by what is in their arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from celeriac.core.attempt import DeadLetter, DeadLetterFilter
from celeriac.desk.contents import Contents, contents
from celeriac.desk.signatures import named
from celeriac.errors import DeadLetterError
from celeriac.store.protocols import DeadLetters

#: Matches nothing: numbers begin at 1.
NOTHING = DeadLetterFilter(ids=(0,))
#: An id as a store counts them, in 64 bits.
_NUMBER = re.compile("[0-9]{1,18}")
_OF_WORKFLOWS = "; those of a workflow are shown by `workflow show`, and redriven by `workflow resume`"
_NAMED = re.compile(r"([A-Za-z_]\w*|\d+)=(.*)", re.DOTALL)


class UnknownDeadLetter(DeadLetterError):
    """``references`` are neither ids of dead letters nor of tasks that have one."""

    def __init__(self, references: Sequence[str]) -> None:
        super().__init__(tuple(references))
        self.references = tuple(references)

    def __str__(self) -> str:
        # One that is no number may be the id of a workflow.
        of_workflows = "" if all(map(_NUMBER.fullmatch, self.references)) else _OF_WORKFLOWS
        return (
            f"no dead letter has the id or the task id {', '.join(self.references)}; it may have been redriven or purged. "
            f"Nothing was done. `dead list` shows those there are, and `dead log` what was done with others{of_workflows}"
        )


@dataclass(frozen=True)
class ArgumentFilter:
    """A value of an argument of this name, or at this position (``"0"``); with no name a text in any of them."""

    name: str | None
    value: str

    @classmethod
    def parse(cls, text: str) -> ArgumentFilter:
        """``order_id=7``, ``0=7``, or any text."""
        found = _NAMED.fullmatch(text)
        return cls(found[1], found[2]) if found else cls(None, text)

    def matches(self, app: Any, letter: DeadLetter) -> bool:
        """Whether the letter's message has it; of a body that stays closed only the sender's repr is looked at."""
        said = contents(letter)
        if self.name is None:
            return self.value.lower() in _shown(said).lower()
        values = named(app, letter.name, said.args or [], said.kwargs or {})
        return self.name in values and _is(values[self.name], self.value)


def _shown(said: Contents) -> str:
    if said.unread is not None:
        return f"{said.headers.get('argsrepr')} {said.headers.get('kwargsrepr')}"
    # As a person writes it, and as it would be written in Python.
    return f"{json.dumps([said.args, said.kwargs], default=str, ensure_ascii=False)} {said.args!r} {said.kwargs!r}"


def _is(value: Any, text: str) -> bool:
    """Whether the value is what the text says, as JSON or as it stands."""
    if isinstance(value, str):
        return text in (value, json.dumps(value), json.dumps(value, ensure_ascii=False))
    with suppress(ValueError):
        wanted = json.loads(text)
        return bool(wanted == value) and isinstance(wanted, bool) == isinstance(value, bool)
    return str(value) == text


@dataclass(frozen=True)
class Choice:
    """What was asked for, not yet looked up; every given condition must hold.

    ``references`` are ids, or ids of tasks. ``acknowledged`` is None for either kind.
    """

    references: tuple[str, ...] = ()
    task: str | None = None
    queue: str | None = None
    error: str | None = None
    fingerprint: str | None = None
    argument: ArgumentFilter | None = None
    older_than: float | None = None
    newer_than: float | None = None
    acknowledged: bool | None = False

    @property
    def everything(self) -> bool:
        """Nothing was said that would leave any dead letter out, but for those that are acknowledged."""
        return self == Choice(acknowledged=self.acknowledged)

    def look_up(self, app: Any, store: DeadLetters) -> DeadLetterFilter:
        """The filter: references and arguments resolved to ids.

        Raises:
            UnknownDeadLetter: a reference means nothing.
        """
        ids = _ids(store, self.references) if self.references else ()
        chosen = DeadLetterFilter(
            ids,
            self.task,
            self.queue,
            self.error,
            self.older_than,
            self.newer_than,
            self.fingerprint,
            # Who is named is meant.
            None if self.references else self.acknowledged,
        )
        return chosen if self.argument is None else _with_argument(app, store, chosen, self.argument)


def _ids(store: DeadLetters, references: Sequence[str]) -> tuple[int, ...]:
    return tuple(sorted({number for numbers in find(store, references).values() for number in numbers}))


def _with_argument(app: Any, store: DeadLetters, chosen: DeadLetterFilter, wanted: ArgumentFilter) -> DeadLetterFilter:
    ids = tuple(letter.id for letter in store.dead_letters(chosen) if wanted.matches(app, letter))
    return replace(chosen, ids=ids) if ids else NOTHING


def find(store: DeadLetters, references: Sequence[str]) -> dict[str, list[int]]:
    """The ids of the dead letters that each reference, an id or a task id, means.

    Raises:
        UnknownDeadLetter: naming every reference that means nothing.
    """
    numbers = {text: int(text) for text in references if _NUMBER.fullmatch(text)}
    by_id = DeadLetterFilter(ids=tuple(numbers.values()))
    existing = {letter.id for letter in store.dead_letters(by_id)} if numbers else set()
    found = {text: [number] for text, number in numbers.items() if number in existing}
    others = [text for text in references if text not in found]
    if others:
        found.update(store.dead_letters_of(others))
    unknown = [text for text in dict.fromkeys(references) if text not in found]
    if unknown:
        raise UnknownDeadLetter(unknown)
    return found


def as_of(chosen: DeadLetterFilter, seconds_ago: float) -> DeadLetterFilter:
    """What the filter matched that long ago: nothing that failed since."""
    newer, shift = chosen.newer_than, max(seconds_ago, 0.0)
    return replace(
        chosen,
        older_than=(chosen.older_than or 0.0) + shift,
        newer_than=None if newer is None else newer + shift,
    )
